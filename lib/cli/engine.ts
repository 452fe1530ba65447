import {
  type EngineChoice,
  type EngineName,
  ENGINES,
} from "../engine/install/choice.ts";
import type { Host } from "../engine/install/host.ts";
import type { InstallOptions } from "../engine/install/install.ts";
import type { Runtime } from "../scheduler/settings.ts";
import type { Given } from "./arguments.ts";
import type { Message } from "./messages.ts";
import { gpusOf } from "./options.ts";

/**
 * Finds the engine that `--engine` asks for, as the runtime `engine`, and says
 * which it is and why. Nothing is installed before a stage runs.
 */
export function engineRuntime(
  given: Given,
  say: (message: Message) => void,
  signal: AbortSignal,
): () => Promise<Runtime> {
  return once(async () => {
    const { selectEngine } = await import("../engine/install/choose.ts");
    const choice = await selectEngine(askedEngine(given), await hostFor(given));
    sayWhich(choice, say);
    return await runtimeOf(choice, installOptions(say, signal));
  });
}

/**
 * As {@linkcode engineRuntime}, for commands that run stages: `auto` goes on
 * to another engine if the first cannot be installed. The engine is part of
 * every key, so that is found out before anything is decided.
 */
export function readyEngineRuntime(
  given: Given,
  say: (message: Message) => void,
  signal: AbortSignal,
): () => Promise<Runtime> {
  const asked = askedEngine(given);
  if (asked !== "auto") return engineRuntime(given, say, signal);
  return once(async () => {
    const { selectEngine } = await import("../engine/install/choose.ts");
    const options = installOptions(say, signal);
    const selected = await selectEngine(asked, await hostFor(given));
    const choice = await selected.prepare(options);
    sayWhich(choice, say);
    return await runtimeOf(choice, options);
  });
}

/** The engine that `--engine` asks for. */
export function askedEngine(given: Given): EngineName | "auto" {
  return ENGINES.find((name) => name === given.value("engine")) ?? "auto";
}

/** This machine, without its GPUs if none may be used. */
async function hostFor(given: Given): Promise<Host> {
  const { thisHost } = await import("../engine/install/host.ts");
  if (gpusOf(given)?.length !== 0) return thisHost;
  return {
    ...thisHost,
    env: (name) => name === "CUDA_VISIBLE_DEVICES" ? "" : thisHost.env(name),
    webgpuAdapter: async () => {
      const adapter = await thisHost.webgpuAdapter();
      const isUsable = askedEngine(given) !== "auto" || adapter?.software;
      return isUsable ? adapter : undefined;
    },
  };
}

/** How an installation is shown and stopped. */
export function installOptions(
  say: (message: Message) => void,
  signal: AbortSignal,
): InstallOptions {
  return {
    signal,
    onProgress: (progress) => say({ type: "install", ...progress }),
  };
}

function once<T>(find: () => Promise<T>): () => Promise<T> {
  let found: Promise<T> | undefined;
  return () => found ??= find();
}

/** The runtime that an engine is to stages that compute. */
export async function runtimeOf(
  choice: EngineChoice,
  options: InstallOptions,
): Promise<Runtime> {
  const { hasBfloat16 } = await import("../engine/install/host.ts");
  const { thisHost } = await import("../engine/install/host.ts");
  const { engine, device, identity, library, flags, read, env } = choice;
  const bfloat16 = await hasBfloat16(choice, thisHost);
  return {
    // Decides which precision "auto" is, and so what a stage computes.
    identity: bfloat16 ? `${identity} bfloat16` : identity,
    threaded: engine === "tensorflow",
    // WebGPU finds its adapter by itself, and is not kept to one by an id.
    gpus: engine === "tensorflow" && device === "gpu" ? 1 : 0,
    settings: {
      engine,
      device,
      bfloat16,
      ...(library !== undefined && { library }),
    },
    flags,
    read,
    env,
    prepare: async () => {
      await choice.prepare(options);
    },
  };
}

/** Says which engine it is, and why. */
export function sayWhich(
  { engine, identity, reason }: EngineChoice,
  say: (message: Message) => void,
): void {
  say({ type: "engine", engine, identity, reason });
}
