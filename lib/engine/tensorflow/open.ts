import { join } from "node:path";
import { cString, type LibTensorflow, openSymbols, textAt } from "./c_api.ts";

/**
 * The two files of the library, in load order: the second depends on the first.
 */
const LIBRARY_NAMES = Deno.build.os === "darwin"
  ? ["libtensorflow_framework.2.dylib", "libtensorflow_cc.2.dylib"]
  : ["libtensorflow_framework.so.2", "libtensorflow_cc.so.2"];

/**
 * Environment variables that configure the library, unless the user has set
 * them.
 */
const LIBRARY_SETTINGS = {
  // Log nothing: errors that matter are statuses as well, and those of kept
  // functions do not, which the library tries to read as text first.
  TF_CPP_MIN_LOG_LEVEL: "3",
  // By default the library uses oneDNN only on processors with AVX512.
  TF_ENABLE_ONEDNN_OPTS: "1",
  // Disables YNNPACK fusions. Their first run builds a graph in a vector that
  // all threads append to without a lock, so concurrent first runs may crash.
  XLA_FLAGS: "--xla_cpu_experimental_ynn_fusion_type=",
};

// Flags of dlopen().
const RTLD_LAZY = 0x1;
const RTLD_NODELETE = Deno.build.os === "darwin" ? 0x80 : 0x1000;
const MADV_DONTNEED = 4;

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
 * What is mapped of a library and never written, by glibc's `struct link_map`
 * and ELF's program headers: `PT_LOAD` (1) without `PF_W` (2).
 */
function unwrittenParts(loaded: Deno.PointerObject) {
  const base = new Deno.UnsafePointerView(loaded).getBigUint64();
  const elf = new Deno.UnsafePointerView(Deno.UnsafePointer.create(base)!);
  const first = Number(elf.getBigUint64(32));
  return Array.from({ length: elf.getUint16(56) }, (_, i) => first + 56 * i)
    .filter((at) => elf.getUint32(at) === 1 && !(elf.getUint32(at + 4) & 2))
    .map((at) => {
      const start = base + elf.getBigUint64(at + 16);
      const inPage = start & 4095n;
      return [start - inPage, elf.getBigUint64(at + 40) + inPage] as const;
    });
}

/**
 * Opens libtensorflow from the folder that contains its two files. With glibc,
 * this process then keeps the memory that the library frees for its next
 * tensors.
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
      mallopt: { parameters: ["i32", "i32"], result: "i32", optional: true },
      open: { parameters: ["buffer", "i32"], result: "i32" },
      dup: { parameters: ["i32"], result: "i32" },
      dup2: { parameters: ["i32", "i32"], result: "i32" },
      close: { parameters: ["i32"], result: "i32" },
      madvise: { parameters: ["u64", "usize", "i32"], result: "i32" },
    },
  ).symbols;
  for (const [name, value] of Object.entries({ ...LIBRARY_SETTINGS, ...env })) {
    libc.setenv(cString(name), cString(value), 0);
  }
  for (const [name, [number, value]] of Object.entries(MALLOC_PARAMETERS)) {
    if (libc.mallopt?.(number, value) === 0) {
      throw new Error(`mallopt() rejects ${name} = ${value}`);
    }
  }
  // While it is loaded, it warns that it cannot log yet, whatever its level.
  const standardError = libc.dup(2);
  const nowhere = libc.open(cString("/dev/null"), 1);
  using _restored = {
    [Symbol.dispose]() {
      libc.dup2(standardError, 2);
      for (const file of [standardError, nowhere]) libc.close(file);
    },
  };
  libc.dup2(nowhere, 2);
  const paths = LIBRARY_NAMES.map((name) => join(folder, name));
  const parts = paths.flatMap((path) => {
    const loaded = libc.dlopen(cString(path), RTLD_LAZY | RTLD_NODELETE);
    if (loaded === null) {
      throw new Error(`Cannot load "${path}": ${textAt(libc.dlerror())}`);
    }
    return Deno.build.os === "linux" ? unwrittenParts(loaded) : [];
  });
  return openSymbols(paths.at(-1)!, () => {
    for (const part of parts) libc.madvise(...part, MADV_DONTNEED);
  });
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
  { intraOpThreads, interOpThreads }: ContextOptions,
): Deno.PointerValue {
  // Varints of two bytes, seven bits in each, the lowest first.
  const varint = (value: number) => [value & 127 | 128, value >> 7];
  const intraOp = [0x10, ...varint(intraOpThreads)];
  const interOp = [0x28, ...varint(interOpThreads)];
  const gpuOptions = [0x32, 2, 0x20, 1];
  const config = Uint8Array.from([...intraOp, ...interOp, ...gpuOptions]);
  const options = library.TFE_NewContextOptions();
  library.TFE_ContextOptionsSetConfig(
    options,
    config,
    BigInt(config.length),
    library.status,
  );
  library.check("Cannot configure libtensorflow");
  const context = library.TFE_NewContext(options, library.status);
  library.check("Cannot open a context of libtensorflow");
  library.TFE_DeleteContextOptions(options);
  return context;
}

/** Types of the devices that the context can use: `["CPU", "GPU"]`. */
export function listDevices(
  library: LibTensorflow,
  context: Deno.PointerValue,
): string[] {
  const list = library.TFE_ContextListDevices(context, library.status);
  library.check("Cannot list the devices of libtensorflow");
  const types = Array.from(
    { length: library.TF_DeviceListCount(list) },
    (_, i) => {
      const type = library.TF_DeviceListType(list, i, library.status);
      library.check(`Cannot get the type of device ${i}`);
      return textAt(type);
    },
  );
  library.TF_DeleteDeviceList(list);
  return types;
}
