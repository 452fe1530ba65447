import { Status } from "../tensorflow/c_api.ts";
import {
  listDevices,
  openContext,
  openLibtensorflow,
} from "../tensorflow/open.ts";

/** What a library says of itself and of the machine. */
export interface Inspection {
  /** `2.21.0` */
  readonly version: string;
  /** Kinds of devices that it computes on: `["CPU", "GPU"]`. */
  readonly devices: readonly string[];
}

function inspect(folder: string): Inspection {
  const library = openLibtensorflow(folder);
  const status = new Status(library);
  const context = openContext(library, status, {
    intraOpThreads: 1,
    interOpThreads: 1,
  });
  return {
    version: Deno.UnsafePointerView.getCString(library.TF_Version()!),
    devices: listDevices(library, status, context).map(({ type }) => type),
  };
}

// Run in a process of its own, which a library that does not fit may take down.
if (import.meta.main) console.log(JSON.stringify(inspect(Deno.args[0]!)));

/** The WebGPU adapter that the runtime prefers. */
export interface WebgpuAdapter {
  /** `llvmpipe (LLVM 19.1.7, 256 bits)` */
  readonly name: string;
  /** True if the processor stands in for a GPU, which is slower than WebAssembly. */
  readonly software: boolean;
}

/** Looks for a WebGPU adapter; undefined if the machine has none. */
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

if (import.meta.main) {
  console.log(JSON.stringify(await webgpuAdapter() ?? null));
}
