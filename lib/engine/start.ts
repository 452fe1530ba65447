import { useTensorflow } from "./backend.ts";
import type { Precision } from "./tensorflow/precision.ts";
import { startTensorflow } from "./tensorflow/start.ts";

/** The engine to run, as it was chosen. */
export interface EngineSettings {
  readonly engine: "tensorflow" | "webgpu" | "wasm";
  readonly device: "cpu" | "gpu";
  /** True if it multiplies bfloat16 faster than float32. */
  readonly bfloat16: boolean;
  /** Folder of libtensorflow's files, for the engine `tensorflow`. */
  readonly library?: string;
}

/** How much of the machine it may use, and how it computes products. */
export interface EngineUse {
  /** Threads: each computes a part of the batch, or all of them one operation for a GPU. */
  readonly cpus: number;
  /** `auto` is bf16 where that is faster, else f32. */
  readonly precision: Precision | "auto";
}

/**
 * Starts the engine in this process and makes it the backend of tfjs.
 *
 * @returns The precision in which products are computed
 * @throws {Error} If it cannot run, has no GPU where one was chosen, or lacks the precision.
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
        `Precision "${precision}" needs the engine "tensorflow": give "precision: f32" to use "${engine}"`,
      );
    }
    if (engine === "webgpu") {
      await (await import("./backends/webgpu.ts")).startWebgpu();
    } else await (await import("./backends/wasm.ts")).startWasm();
    return precision;
  }
  if (library === undefined) {
    throw new Error('The engine "tensorflow" needs the folder of its library');
  }
  // A processor's threads each compute a part of the batch: they wait for each
  // other once a step, instead of in every operation. A GPU is not shared out.
  const started = await startTensorflow(
    library,
    device === "gpu"
      ? { intraOpThreads: use.cpus, interOpThreads: 1 }
      : { intraOpThreads: 1, interOpThreads: use.cpus },
  );
  if (device === "gpu" && !started.binding.isUsingGpuDevice()) {
    throw new Error(
      `The GPU was chosen but libtensorflow finds none (its devices: ${
        started.devices.map(({ type }) => type).join(", ")
      }). Check the NVIDIA driver and CUDA_VISIBLE_DEVICES, or set CUDA_VISIBLE_DEVICES=-1 to compute on the processor`,
    );
  }
  started.binding.precision = precision;
  useTensorflow(started);
  return precision;
}
