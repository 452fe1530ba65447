import type { LibTensorflow } from "./symbols.ts";
import type { Status } from "./status.ts";

/** How the library shall use the machine. */
export interface ContextOptions {
  /** Threads that one operation may use. */
  readonly intraOpThreads: number;
  /** Operations of a graph that may run side by side. */
  readonly interOpThreads: number;
}

/** A device of the library: `{ name: "/job:localhost/.../device:CPU:0", type: "CPU" }`. */
export interface Device {
  readonly name: string;
  readonly type: string;
}

/**
 * Opens an eager context.
 *
 * The configuration is a `tensorflow.ConfigProto`, encoded by hand: field 2
 * `intra_op_parallelism_threads`, field 5 `inter_op_parallelism_threads`,
 * field 6 `gpu_options` with its field 4 `allow_growth`, so that GPU memory is
 * taken on demand.
 */
export function openContext(
  library: LibTensorflow,
  status: Status,
  options: ContextOptions,
): Deno.PointerValue {
  const config = new Uint8Array([
    0x10,
    ...threadCount("intraOpThreads", options),
    0x28,
    ...threadCount("interOpThreads", options),
    0x32,
    2,
    0x20,
    1,
  ]);
  const contextOptions = library.TFE_NewContextOptions();
  try {
    library.TFE_ContextOptionsSetConfig(
      contextOptions,
      config,
      BigInt(config.length),
      status.pointer,
    );
    status.check("Configure libtensorflow");
    const context = library.TFE_NewContext(contextOptions, status.pointer);
    status.check("Open libtensorflow's context");
    return context;
  } finally {
    library.TFE_DeleteContextOptions(contextOptions);
  }
}

/** A number of threads as protocol buffers write it: seven bits a byte, the lowest first. */
function threadCount(
  name: keyof ContextOptions,
  { [name]: value }: ContextOptions,
): number[] {
  if (!Number.isInteger(value) || value < 1 || value >= 2 ** 14) {
    throw new RangeError(
      `"${name}" must be a whole number from 1 to ${2 ** 14 - 1}, not ${value}`,
    );
  }
  return value < 128 ? [value] : [value & 127 | 128, value >> 7];
}

/** Devices that the context can use. */
export function listDevices(
  library: LibTensorflow,
  status: Status,
  context: Deno.PointerValue,
): Device[] {
  const list = library.TFE_ContextListDevices(context, status.pointer);
  status.check("List libtensorflow's devices");
  try {
    return Array.from({ length: library.TF_DeviceListCount(list) }, (_, i) => {
      const name = library.TF_DeviceListName(list, i, status.pointer);
      status.check("Name a device");
      const type = library.TF_DeviceListType(list, i, status.pointer);
      status.check("Name a device's type");
      return {
        name: Deno.UnsafePointerView.getCString(name!),
        type: Deno.UnsafePointerView.getCString(type!),
      };
    });
  } finally {
    library.TF_DeleteDeviceList(list);
  }
}
