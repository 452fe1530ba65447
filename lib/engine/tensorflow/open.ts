import { join } from "node:path";
import { cString, type LibTensorflow, type Status, symbols } from "./c_api.ts";

/** The two files of the library, in load order: the second depends on the first. */
const LIBRARY_NAMES = Deno.build.os === "darwin"
  ? ["libtensorflow_framework.2.dylib", "libtensorflow_cc.2.dylib"]
  : ["libtensorflow_framework.so.2", "libtensorflow_cc.so.2"];

/** Environment variables that configure the library, unless the user has set them. */
const LIBRARY_SETTINGS = {
  // Log warnings and errors only.
  TF_CPP_MIN_LOG_LEVEL: "1",
  // By default the library uses oneDNN only on processors with AVX512.
  TF_ENABLE_ONEDNN_OPTS: "1",
  // Disables YNNPACK fusions. Their first run builds a graph in a vector that
  // all threads append to without a lock, so concurrent first runs may crash.
  XLA_FLAGS: "--xla_cpu_experimental_ynn_fusion_type=",
};

// Flags of dlopen().
const RTLD_LAZY = 0x1;
const RTLD_NODELETE = Deno.build.os === "darwin" ? 0x80 : 0x1000;

/**
 * Opens libtensorflow from the folder that contains its two files.
 *
 * Deno unloads FFI libraries at exit, and libtensorflow crashes when it is
 * unloaded. So it is opened through libc first, with `RTLD_NODELETE`, which
 * keeps it mapped.
 *
 * @param env Further variables, unless the user has set them.
 * @throws {Error} With the loader's message, if a file cannot be loaded.
 */
export function openLibtensorflow(
  folder: string,
  env: Readonly<Record<string, string>> = {},
): LibTensorflow {
  const libc = Deno.dlopen(
    Deno.build.os === "darwin" ? "libSystem.dylib" : "libc.so.6",
    {
      dlopen: { parameters: ["buffer", "i32"], result: "pointer" },
      dlerror: { parameters: [], result: "pointer" },
      setenv: { parameters: ["buffer", "buffer", "i32"], result: "i32" },
      open: { parameters: ["buffer", "i32"], result: "i32" },
      dup: { parameters: ["i32"], result: "i32" },
      dup2: { parameters: ["i32", "i32"], result: "i32" },
      close: { parameters: ["i32"], result: "i32" },
    },
  );
  for (const [name, value] of Object.entries({ ...LIBRARY_SETTINGS, ...env })) {
    libc.symbols.setenv(cString(name), cString(value), 0);
  }
  keepFreedMemory();
  const paths = LIBRARY_NAMES.map((name) => join(folder, name));
  // While it is loaded, it warns that it cannot log yet, whatever its level.
  const { open, dup, dup2, close } = libc.symbols;
  const [standardError, nowhere] = [dup(2), open(cString("/dev/null"), 1)];
  using _restored = {
    [Symbol.dispose]() {
      dup2(standardError, 2);
      for (const file of [standardError, nowhere]) close(file);
    },
  };
  dup2(nowhere, 2);
  for (const path of paths) {
    if (
      libc.symbols.dlopen(cString(path), RTLD_LAZY | RTLD_NODELETE) === null
    ) {
      const message = libc.symbols.dlerror();
      throw new Error(
        `Cannot load "${path}": ${
          message ? Deno.UnsafePointerView.getCString(message) : "unknown error"
        }`,
      );
    }
  }
  return Deno.dlopen(paths.at(-1)!, symbols).symbols;
}

/**
 * Parameters of glibc's `mallopt()`: their numbers in `malloc.h`, and values.
 *
 * A training step allocates and frees the same large tensors over and over. By
 * default each one is mapped and unmapped, and the kernel zeroes every page of
 * it, which takes a fifth of a step's time. A single heap that never shrinks
 * reuses the memory as it is.
 */
const MALLOC_PARAMETERS = {
  M_MMAP_MAX: [-4, 0],
  M_TRIM_THRESHOLD: [-1, 2 ** 31 - 1],
  M_TOP_PAD: [-2, 2 ** 26],
  M_ARENA_MAX: [-8, 1],
} as const;

/**
 * Makes this process keep the memory that the library frees for its next
 * tensors. Has no effect without glibc.
 *
 * @throws {Error} If glibc rejects a parameter.
 */
function keepFreedMemory(): void {
  if (Deno.build.os !== "linux") return;
  const libc = Deno.dlopen("libc.so.6", {
    mallopt: {
      parameters: ["i32", "i32"],
      result: "i32",
      optional: true,
    },
  });
  const { mallopt } = libc.symbols;
  if (mallopt === null) return;
  for (const [name, [number, value]] of Object.entries(MALLOC_PARAMETERS)) {
    if (mallopt(number, value) !== 1) {
      throw new Error(`mallopt() rejects ${name} = ${value}`);
    }
  }
}

/** How the library uses the machine. */
export interface ContextOptions {
  /** Threads within one operation. */
  readonly intraOpThreads: number;
  /** Operations of a graph that run concurrently. */
  readonly interOpThreads: number;
}

/**
 * Opens an eager context.
 *
 * The configuration is a `tensorflow.ConfigProto`, encoded by hand: field 2
 * `intra_op_parallelism_threads`, field 5 `inter_op_parallelism_threads`,
 * field 6 `gpu_options` with its field 4 `allow_growth`, which allocates GPU
 * memory on demand.
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
    status.check("Cannot configure libtensorflow");
    const context = library.TFE_NewContext(contextOptions, status.pointer);
    status.check("Cannot open a context of libtensorflow");
    return context;
  } finally {
    library.TFE_DeleteContextOptions(contextOptions);
  }
}

/** A number of threads as a varint of protocol buffers: seven bits a byte, the lowest first. */
function threadCount(
  name: keyof ContextOptions,
  { [name]: value }: ContextOptions,
): number[] {
  if (!Number.isInteger(value) || value < 1 || value >= 2 ** 14) {
    throw new RangeError(
      `"${name}" must be an integer from 1 to ${2 ** 14 - 1}, got ${value}`,
    );
  }
  return value < 128 ? [value] : [value & 127 | 128, value >> 7];
}

/** A device of the library: `{ name: "/job:localhost/.../device:CPU:0", type: "CPU" }`. */
export interface Device {
  readonly name: string;
  readonly type: string;
}

/** Devices that the context can use. */
export function listDevices(
  library: LibTensorflow,
  status: Status,
  context: Deno.PointerValue,
): Device[] {
  const list = library.TFE_ContextListDevices(context, status.pointer);
  status.check("Cannot list the devices of libtensorflow");
  try {
    return Array.from({ length: library.TF_DeviceListCount(list) }, (_, i) => {
      const name = library.TF_DeviceListName(list, i, status.pointer);
      status.check(`Cannot get the name of device ${i}`);
      const type = library.TF_DeviceListType(list, i, status.pointer);
      status.check(`Cannot get the type of device ${i}`);
      return {
        name: Deno.UnsafePointerView.getCString(name!),
        type: Deno.UnsafePointerView.getCString(type!),
      };
    });
  } finally {
    library.TF_DeleteDeviceList(list);
  }
}
