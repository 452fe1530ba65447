/** Why a stage is where it is, in words: `param lr 4e-4 -> 5e-4`. */
export type Reason = string;

/** What is to be done with a stage. */
export type Decision =
  /** Its visible output is already the right one. */
  | { readonly state: "unchanged"; readonly key: string }
  /** The cache holds its result; the visible output is missing or another. */
  | { readonly state: "restore"; readonly key: string; readonly reason: Reason }
  /** It must run. */
  | { readonly state: "run"; readonly key: string; readonly reason: Reason }
  /** An input is still to be made: it runs unless that input turns out as before. */
  | { readonly state: "unknown"; readonly reason: Reason }
  /** Not asked for, or held up by a failure. */
  | { readonly state: "skip"; readonly reason: Reason };

/** What the scheduler says while it works; renderers turn it into lines, a live table or JSON. */
export type Event =
  | {
    readonly type: "start";
    readonly pipeline: string;
    readonly stages: readonly string[];
  }
  | {
    readonly type: "decided";
    readonly stage: string;
    readonly decision: Decision;
  }
  | {
    readonly type: "started";
    readonly stage: string;
    readonly attempt: number;
    readonly reason: Reason;
  }
  | {
    readonly type: "progress";
    readonly stage: string;
    readonly done: number;
    readonly total: number;
    readonly unit: string;
    readonly note?: string;
  }
  | {
    readonly type: "log";
    readonly stage: string;
    readonly line: string;
    readonly stream: "log" | "stdout" | "stderr";
  }
  | {
    readonly type: "metric";
    readonly stage: string;
    readonly name: string;
    readonly value: number;
    readonly step?: number;
  }
  | {
    readonly type: "finished";
    readonly stage: string;
    readonly outcome: "ran" | "restored" | "unchanged" | "skipped";
    readonly seconds: number;
    /** Visible folder of the artifact. */
    readonly output: string;
    readonly note?: string;
  }
  | {
    readonly type: "failed";
    readonly stage: string;
    readonly attempt: number;
    readonly message: string;
    readonly log: string;
    readonly retry: boolean;
    /** What kind of failure it is, where that is known. */
    readonly code?: "output-missing";
  }
  | Summary;

/** The last event of every run. */
export interface Summary {
  readonly type: "summary";
  readonly ran: number;
  readonly restored: number;
  readonly unchanged: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
}

/**
 * Something of the machine that stages need and that is found before any of
 * them runs, such as the engine: who it is, and what a process needs to use it.
 */
export interface Runtime {
  /** Part of the key of every stage that needs it: `tensorflow 2.21.0 cpu linux-x86_64`. */
  readonly identity: string;
  /**
   * True if what it computes depends in its last bits on the number of threads.
   * The processors that a stage asks for are then part of its key.
   */
  readonly threaded?: boolean;
  /** GPUs that a stage which uses it must hold; none if left out. No part of the key. */
  readonly gpus?: number;
  /** Handed to the stage's process. */
  readonly settings: Readonly<Record<string, string | number | boolean>>;
  /** Deno flags for the process: `--allow-ffi`, `--unstable-webgpu`. */
  readonly flags: readonly string[];
  /** Folders that the process may read. */
  readonly read: readonly string[];
  /** Environment variables that the process may read, and the values that it gets. */
  readonly env: Readonly<Record<string, string>>;
  /** Makes it ready (installs the library, say); called once, before the first stage that needs it runs. */
  readonly prepare: () => Promise<void>;
}
