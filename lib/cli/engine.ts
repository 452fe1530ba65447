import type { EngineChoice } from "../engine/library/choice.ts";
import { ENGINES } from "../engine/library/choice.ts";
import type { Facility } from "../scheduler/events.ts";
import type { Given } from "./arguments.ts";
import type { Message } from "./messages.ts";

/**
 * Finds the engine that `--engine` asks for, as the facility `engine`, and says
 * which it is and why. It is made ready only if a stage runs.
 */
export function engineFacility(
  given: Given,
  say: (message: Message) => void,
  signal: AbortSignal,
): () => Promise<Facility> {
  let facility: Promise<Facility> | undefined;
  const find = async () => {
    const { selectEngine } = await import("../engine/library/select.ts");
    const asked = ENGINES.find((name) => name === given.value("engine"));
    const choice = await selectEngine(asked ?? "auto");
    sayWhich(choice, say);
    return facilityOf(choice, say, signal);
  };
  return () => facility ??= find();
}

function facilityOf(
  choice: EngineChoice,
  say: (message: Message) => void,
  signal: AbortSignal,
): Facility {
  const { engine, device, identity, library, flags, read, env } = choice;
  return {
    identity,
    settings: {
      engine,
      device,
      ...(library !== undefined && { library }),
    },
    flags,
    read,
    env,
    prepare: async () => {
      await choice.prepare({
        signal,
        onProgress: (progress) => say({ type: "install", ...progress }),
      });
    },
  };
}

function sayWhich(
  { engine, identity, reason }: EngineChoice,
  say: (message: Message) => void,
): void {
  say({ type: "engine", engine, identity, reason });
}
