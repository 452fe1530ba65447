/**
 * A program that loads libtensorflow (`probe.ts FOLDER`) or asks for the WebGPU
 * adapter (`probe.ts`) and prints what it finds as JSON. It runs as a separate
 * process, since an incompatible library or a broken graphics driver may crash
 * it, and without the project's configuration: it can import no packages.
 */
import { textAt } from "../tensorflow/c_api.ts";
import {
  listDevices,
  openContext,
  openLibtensorflow,
} from "../tensorflow/open.ts";

export interface WebgpuAdapter {
  /** `llvmpipe (LLVM 19.1.7, 256 bits)` */
  readonly name: string;
  /** True if it runs on the CPU, which is slower than WebAssembly. */
  readonly software: boolean;
}

/** The WebGPU adapter that the runtime prefers; undefined if there is none. */
export async function webgpuAdapter(): Promise<WebgpuAdapter | undefined> {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) return undefined;
  const { description, vendor, architecture, device, isFallbackAdapter } =
    adapter.info;
  return {
    name: description ||
      [vendor, architecture, device].filter((part) => part !== "").join(" "),
    software: isFallbackAdapter,
  };
}

/** A library that was loaded. */
export interface LoadedLibrary {
  readonly version: string;
  /** Types of its devices: `CPU`, `GPU`. */
  readonly devices: readonly string[];
}

/** What the program prints as JSON. */
export type ProbeResult =
  /** With the folder of a library. */
  | LoadedLibrary
  /** Without; null if there is no adapter. */
  | WebgpuAdapter
  | null;

function inspect(folder: string): LoadedLibrary {
  const library = openLibtensorflow(folder);
  const context = openContext(library, {
    intraOpThreads: 1,
    interOpThreads: 1,
  });
  return {
    version: textAt(library.TF_Version()),
    devices: listDevices(library, context),
  };
}

if (import.meta.main) {
  const [folder] = Deno.args;
  const result: ProbeResult = folder === undefined
    ? await webgpuAdapter() ?? null
    : inspect(folder);
  console.log(JSON.stringify(result));
}
