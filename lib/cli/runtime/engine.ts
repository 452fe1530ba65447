import {
  type EngineChoice,
  type EngineName,
  ENGINES,
} from "../../engine/install/choice.ts";
import type { Host } from "../../engine/install/host.ts";
import type { InstallOptions } from "../../engine/install/install.ts";
import { openStore } from "../../scheduler/context.ts";
import { type Runtime, visibleGpus } from "../../scheduler/settings.ts";
import { digest } from "../../files/digest.ts";
import { join } from "../../files/paths.ts";
import type { Arguments } from "../arguments/arguments.ts";
import { gpusOf, outOf } from "../arguments/options.ts";
import type { Message } from "../terminal/messages.ts";

/**
 * Selects the engine for `--engine` as a runtime for stages, and reports it
 * with the reason. It is installed when the first stage needs it.
 *
 * @param options.say Prints messages about the engine.
 * @param options.signal Stops an installation.
 * @param options.findHost Describes the machine that runs the stages; by
 * default this one.
 * @returns A function that selects it, once.
 */
export function selectedEngine(
  args: Arguments,
  { say, signal, findHost = () => hostFor(args) }: {
    readonly say: (message: Message) => void;
    readonly signal?: AbortSignal | undefined;
    readonly findHost?: (() => Promise<Host>) | undefined;
  },
): () => Promise<Runtime> {
  const select = async () => {
    const { selectEngine } = await import("../../engine/install/choose.ts");
    const host = await findHost();
    const choice = await selectEngine(engineOption(args), host);
    say(engineMessage(choice));
    return await runtimeOf(choice, installOptions(say, signal), host);
  };
  let runtime: Promise<Runtime> | undefined;
  return () => runtime ??= select();
}

/** An engine with the GPUs that it needs, which are locked until disposal. */
export interface HeldEngine extends Disposable {
  readonly engine: Runtime;
  /** As in `CUDA_VISIBLE_DEVICES`. */
  readonly gpus: readonly string[];
}

/**
 * The engine of a command whose standard output is for its results only, with
 * the GPUs that it needs, which are locked in the cache until disposal.
 */
export async function heldEngine(
  args: Arguments,
  signal: AbortSignal,
): Promise<HeldEngine> {
  const say = (message: Message) => {
    if (message.type === "note") console.error(message.text);
    if (message.type === "install" && message.done === 0) {
      console.error(`${message.step} ${message.subject}`);
    }
  };
  const engine = await selectedEngine(args, { say, signal })();
  const { holdGpus } = await import("../../scheduler/gpus.ts");
  const store = openStore({ out: outOf(args) });
  const held = await holdGpus(store, {
    count: engine.gpus ?? 0,
    among: gpusOf(args) ?? visibleGpus(),
    onWait: (holders) => console.error(`Waiting for a GPU held by ${holders}`),
    signal,
  });
  return {
    engine,
    gpus: held.ids,
    [Symbol.dispose]: () => held[Symbol.dispose](),
  };
}

/** The value of `--engine`. */
export function engineOption(args: Arguments): EngineName | "auto" {
  return ENGINES.find((name) => name === args.value("engine")) ?? "auto";
}

/** This machine; with `--gpus none`, without its GPUs. */
async function hostFor(args: Arguments): Promise<Host> {
  const { thisHost } = await import("../../engine/install/host.ts");
  if (gpusOf(args)?.length !== 0) return thisHost;
  return {
    ...thisHost,
    env: (name) => name === "CUDA_VISIBLE_DEVICES" ? "" : thisHost.env(name),
    webgpuAdapter: async () => {
      const adapter = await thisHost.webgpuAdapter();
      const isUsable = engineOption(args) !== "auto" || adapter?.software;
      return isUsable ? adapter : undefined;
    },
  };
}

/**
 * Options that report the progress of an installation and let `signal` stop it.
 */
export function installOptions(
  say: (message: Message) => void,
  signal: AbortSignal | undefined,
): InstallOptions {
  return {
    signal,
    onProgress: (progress) => say({ type: "install", ...progress }),
    onDamage: (path) =>
      say({
        type: "note",
        text:
          `"${path}" of the library is missing or was changed after its installation: reinstalling the library`,
      }),
  };
}

/** The runtime of the stages that compute with an engine. */
export async function runtimeOf(
  choice: EngineChoice,
  options: InstallOptions,
  host: Host,
): Promise<Runtime> {
  const { hasBfloat16, instructionsOf, machineOf, processorOf } = await import(
    "../../engine/install/host.ts"
  );
  const { engine, device, identity, library, flags, read, env, native } =
    choice;
  const instructions = await instructionsOf(choice, host);
  const processor = engine === "tensorflow" && device === "cpu"
    ? processorOf(host)
    : undefined;
  return {
    identity: `${identity} ${instructions}`.trimEnd(),
    threaded: engine === "tensorflow",
    machine: () => machineOf(choice, host),
    // WebGPU selects its adapter itself and ignores the ids of held GPUs.
    gpus: engine === "tensorflow" && device === "gpu" ? 1 : 0,
    settings: {
      engine,
      device,
      bfloat16: hasBfloat16(instructions),
      ...(library !== undefined && { library }),
    },
    flags,
    read,
    ...(native !== undefined && { native }),
    ...(processor !== undefined && {
      sharedFiles: await compiledFunctions(`${identity}\n${processor}`, host),
    }),
    env,
    prepare: () => choice.prepare(options),
  };
}

/**
 * The functions that stages compile, handed on to later stages with the same
 * library and kind of processor: `compiled/` in the user's cache.
 */
async function compiledFunctions(
  engine: string,
  host: Host,
): Promise<NonNullable<Runtime["sharedFiles"]>> {
  const { cacheFolder } = await import("../../engine/install/folder.ts");
  const name = (await digest(engine)).slice(0, 16);
  const kept = join(cacheFolder(host.env), "compiled", name);
  return {
    title: "Compiled code",
    settings: (folder) => ({ compiledBefore: kept, compiledNow: folder }),
    read: [kept],
    keep: async (folder) => {
      const { keepCompiled } = await import(
        "../../engine/tensorflow/compiled.ts"
      );
      keepCompiled({ before: kept, now: folder });
    },
  };
}

/** The message that reports the selected engine. */
export function engineMessage(
  { engine, identity, reason }: EngineChoice,
): Message {
  return { type: "engine", engine, identity, reason };
}
