import { useTensorflow } from "./backend.ts";
import type { Precision } from "./tensorflow/precision.ts";
import { startTensorflow } from "./tensorflow/start.ts";

/** The engine to run, as it was chosen. */
export interface EngineSettings {
  readonly engine: "tensorflow" | "webgpu" | "wasm";
  readonly device: "cpu" | "gpu";
  /** Folder of libtensorflow's files, for the engine `tensorflow`. */
  readonly library?: string;
}

/** How much of the machine it may use, and how it computes products. */
export interface EngineUse {
  /** Threads of one operation. */
  readonly cpus: number;
  readonly precision: Precision;
}

/**
 * Starts the engine in this process and makes it the backend of tfjs.
 *
 * @throws {Error} If it cannot run, has no GPU where one was chosen, or lacks the precision.
 */
export async function startEngine(
  settings: EngineSettings,
  use: EngineUse,
): Promise<void> {
  const { engine, device, library } = settings;
  if (engine !== "tensorflow") {
    if (use.precision !== "f32") {
      throw new Error(
        `Precision "${use.precision}" needs the engine "tensorflow": give "precision: f32" to use "${engine}"`,
      );
    }
    if (engine === "webgpu") {
      await (await import("./backends/webgpu.ts")).startWebgpu();
    } else await (await import("./backends/wasm.ts")).startWasm();
    return;
  }
  if (library === undefined) {
    throw new Error('The engine "tensorflow" needs the folder of its library');
  }
  const started = await startTensorflow(library, {
    intraOpThreads: use.cpus,
    interOpThreads: 1,
  });
  if (device === "gpu" && !started.binding.isUsingGpuDevice()) {
    throw new Error(
      `The GPU was chosen but libtensorflow finds none (its devices: ${
        started.devices.map(({ type }) => type).join(", ")
      }). Check the NVIDIA driver and CUDA_VISIBLE_DEVICES, or set CUDA_VISIBLE_DEVICES=-1 to compute on the processor`,
    );
  }
  started.binding.precision = use.precision;
  useTensorflow(started);
}
