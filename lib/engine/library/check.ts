import { dirname } from "node:path";
import { InstallError } from "../../pypi/install_error.ts";
import { hasBfloat16 } from "./bfloat16.ts";
import { checkFiles } from "./check_files.ts";
import type { EngineChoice } from "./choice.ts";
import { type Host, thisHost } from "./host.ts";
import { inspectLibrary } from "./inspect.ts";

/** What an engine is able to do here. */
export interface EngineReport {
  /** Kinds of devices that it found: `["CPU", "GPU"]`. */
  readonly devices: readonly string[];
  /** True if it multiplies bfloat16 faster than float32. */
  readonly bfloat16: boolean;
  /** The library, for the engine that has one. */
  readonly library?: {
    readonly version: string;
    readonly folder: string;
    /** Size of its files, each of which has the hash that it was installed with. */
    readonly bytes: number;
  };
}

/**
 * Checks an engine without installing anything: the library's files by hash,
 * then the library itself in a process of its own.
 *
 * @throws {InstallError} `not-loadable`, if it is missing, damaged or finds no GPU where one was chosen.
 */
export async function checkEngine(
  choice: EngineChoice,
  host: Host = thisHost,
): Promise<EngineReport> {
  const bfloat16 = await hasBfloat16(choice, host);
  if (choice.library === undefined) {
    return { devices: [choice.device.toUpperCase()], bfloat16 };
  }
  const folder = dirname(choice.library);
  const bytes = await checkFiles(folder);
  const { version, devices } = await inspectLibrary(choice.library, choice.env);
  if (choice.device === "gpu" && !devices.includes("GPU")) {
    throw new InstallError(
      "not-loadable",
      "An NVIDIA driver is there but libtensorflow finds no GPU",
      "See what nvidia-smi says, or set CUDA_VISIBLE_DEVICES=-1 to compute on the processor",
    );
  }
  return { devices, bfloat16, library: { version, folder, bytes } };
}
