import { libraryBinding, useLibrary } from "./backend.ts";
import type { EngineChoice } from "./install/choice.ts";
import { TensorflowBinding } from "./tensorflow/binding.ts";
import {
  type CompiledFolders,
  CompiledFunctions,
} from "./tensorflow/compiled.ts";
import {
  type ContextOptions,
  listDevices,
  openContext,
  openLibtensorflow,
} from "./tensorflow/open.ts";
import type { Precision } from "./tensorflow/precision.ts";
import { useTensorflow } from "./tensorflow/tfjs_node_gpu.ts";

/** The chosen engine. */
export interface EngineSettings
  extends Pick<EngineChoice, "engine" | "device" | "library"> {
  /** True if the hardware multiplies bfloat16 faster than float32. */
  readonly bfloat16: boolean;
  /**
   * Folder of functions that earlier processes have compiled, and one for those
   * that this process compiles: both or none.
   */
  readonly compiledBefore?: string;
  readonly compiledNow?: string;
}

/** Resources of an engine, and the precision of its products. */
interface EngineUse {
  /**
   * Threads. On a CPU, each computes a shard of the batch; on a GPU, all share
   * each operation.
   */
  readonly cpus: number;
  /** `auto` selects bf16 if it is faster, otherwise f32. */
  readonly precision: Precision | "auto";
}

/**
 * Starts the engine in this process and makes it the backend of tfjs. A library
 * that runs already is kept as it is, but for the precision.
 *
 * @returns The precision in which products are computed
 * @throws {Error} If the engine cannot run, finds no GPU although one was
 * chosen, or lacks the precision.
 */
export async function startEngine(
  settings: EngineSettings,
  use: EngineUse,
): Promise<Precision> {
  const { engine, device, library, bfloat16 } = settings;
  const precision = use.precision === "auto"
    ? bfloat16 ? "bf16" : "f32"
    : use.precision;
  if (engine !== "tensorflow") {
    if (precision !== "f32") {
      throw new Error(
        `Precision "${precision}" requires the engine "tensorflow": use "precision: f32" with "${engine}"`,
      );
    }
    if (engine === "webgpu") {
      await (await import("./backends/webgpu.ts")).startWebgpu();
    } else await (await import("./backends/wasm.ts")).startWasm(library);
    return precision;
  }
  const binding = libraryBinding() ?? await startLibrary(settings, use.cpus);
  if (device === "gpu" && !binding.isUsingGpuDevice()) {
    throw new Error(
      `A GPU was chosen, but libtensorflow finds none (devices: ${
        binding.devices.join(", ")
      }): check the NVIDIA driver and CUDA_VISIBLE_DEVICES, or set CUDA_VISIBLE_DEVICES=-1 to use the CPU`,
    );
  }
  binding.precision = precision;
  useLibrary(binding);
  return precision;
}

/** Loads libtensorflow from its folder and makes it the backend of tfjs. */
async function startLibrary(
  { library: folder, device, compiledBefore, compiledNow }: EngineSettings,
  cpus: number,
): Promise<TensorflowBinding> {
  if (folder === undefined) {
    throw new Error(
      'The engine "tensorflow" needs "library", the folder of libtensorflow',
    );
  }
  const compiled: CompiledFolders | undefined =
    compiledBefore !== undefined && compiledNow !== undefined
      ? { before: compiledBefore, now: compiledNow }
      : undefined;
  const library = openLibtensorflow(
    folder,
    compiled && CompiledFunctions.environment(compiled),
  );
  // On a CPU, each thread computes a shard of the batch, so that threads wait
  // for each other once per step instead of in every operation.
  const threads: ContextOptions = device === "gpu"
    ? { intraOpThreads: cpus, interOpThreads: 1 }
    : { intraOpThreads: 1, interOpThreads: cpus };
  const context = openContext(library, threads);
  const binding = new TensorflowBinding(
    library,
    context,
    listDevices(library, context),
    threads.interOpThreads,
    compiled && new CompiledFunctions(compiled),
  );
  await useTensorflow(binding);
  library.releasePages();
  return binding;
}
