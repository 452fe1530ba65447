import type { Event } from "../scheduler/events.ts";

/** Everything that a command says while it works: what the scheduler says, and what goes before it. */
export type Message =
  | Event
  /** The engine that was chosen, and why. */
  | {
    readonly type: "engine";
    readonly engine: string;
    readonly identity: string;
    readonly reason: string;
  }
  /** Something is being fetched or unpacked before stages can run. */
  | {
    readonly type: "install";
    readonly step: string;
    readonly subject: string;
    /** Bytes; a step without a total is only named. */
    readonly done: number;
    readonly total: number;
  }
  /** A line for the reader. */
  | { readonly type: "note"; readonly text: string }
  /** A file that the pipeline shows at its end, with its text. */
  | {
    readonly type: "shown";
    readonly stage: string;
    readonly path: string;
    readonly text: string;
  };

/** Shows messages to whoever is there. */
export interface Renderer {
  show(message: Message): void;
  /** Puts the terminal back as it was. Called once, also after an error. */
  end(): void;
}
