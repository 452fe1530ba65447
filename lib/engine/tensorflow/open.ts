import { join } from "node:path";
import { cString, type LibTensorflow, type Status, symbols } from "./c_api.ts";

const LIBRARY_NAMES = Deno.build.os === "darwin"
  ? ["libtensorflow_framework.2.dylib", "libtensorflow_cc.2.dylib"]
  : ["libtensorflow_framework.so.2", "libtensorflow_cc.so.2"];

/** The two files of the library, in load order: the second depends on the first. */
export function libraryFiles(folder: string): string[] {
  return LIBRARY_NAMES.map((name) => join(folder, name));
}

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
const RTLD_NOW = 0x2;
const RTLD_NODELETE = Deno.build.os === "darwin" ? 0x80 : 0x1000;

/**
 * Opens libtensorflow from the folder that contains its two files.
 *
 * Deno unloads FFI libraries at exit, and libtensorflow crashes when it is
 * unloaded. So it is opened through libc first, with `RTLD_NODELETE`, which
 * keeps it mapped. All its functions are bound at once: bound at their first
 * call, after {@linkcode releaseLoadingPages}, they leave another 50 MiB of
 * symbols in resident memory, though they make the start a quarter shorter.
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
    },
  );
  for (const [name, value] of Object.entries({ ...LIBRARY_SETTINGS, ...env })) {
    libc.symbols.setenv(cString(name), cString(value), 0);
  }
  keepFreedMemory();
  const paths = libraryFiles(folder);
  for (const path of paths) {
    if (
      libc.symbols.dlopen(cString(path), RTLD_NOW | RTLD_NODELETE) === null
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

const MADV_DONTNEED = 4;

/**
 * Removes the pages of mapped files from this process's resident memory. Most
 * pages of libtensorflow are read only while it is loaded: a few hundred MiB of
 * symbols, relocations and start-up code. Pages that are used again are read
 * from the kernel's page cache.
 *
 * Only mappings without modified pages are affected. Has no effect if the
 * kernel is not Linux or does not list the mappings.
 *
 * @param paths Files that do not change on disk.
 * @throws {Error} If the kernel rejects a mapping.
 */
export function releaseLoadingPages(paths: readonly string[]): void {
  if (Deno.build.os !== "linux") return;
  const libc = Deno.dlopen("libc.so.6", {
    madvise: { parameters: ["usize", "usize", "i32"], result: "i32" },
  });
  try {
    for (const { start, bytes } of unwrittenMappings(readMappings(), paths)) {
      if (libc.symbols.madvise(start, bytes, MADV_DONTNEED) !== 0) {
        throw new Error(`The kernel rejects releasing the pages at ${start}`);
      }
    }
  } finally {
    libc.close();
  }
}

const O_RDONLY = 0;

/**
 * The kernel's list of mappings; empty if there is none. Read through libc,
 * since Deno requires the permission to read all files for `/proc/self`.
 */
function readMappings(): string {
  const libc = Deno.dlopen("libc.so.6", {
    open: { parameters: ["buffer", "i32"], result: "i32" },
    read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
    close: { parameters: ["i32"], result: "i32" },
  });
  const { open, read, close } = libc.symbols;
  const file = open(cString("/proc/self/smaps"), O_RDONLY);
  try {
    const decoder = new TextDecoder();
    const part = new Uint8Array(2 ** 16);
    let text = "";
    while (file >= 0) {
      const count = Number(read(file, part, BigInt(part.length)));
      if (count < 0) throw new Error('Cannot read "/proc/self/smaps"');
      if (count === 0) break;
      text += decoder.decode(part.subarray(0, count), { stream: true });
    }
    return text + decoder.decode();
  } finally {
    if (file >= 0) close(file);
    libc.close();
  }
}

/** A range of this process's memory. */
interface Mapping {
  readonly start: bigint;
  readonly bytes: bigint;
}

/**
 * Mappings of these files that are not writable and have no modified page.
 *
 * @param smaps Text of `/proc/self/smaps`: for each mapping a line such as
 *   `7f00-7fa0 r-xp 00000000 fe:00 42  /path`, then `Anonymous:  0 kB` and others.
 */
export function unwrittenMappings(
  smaps: string,
  paths: readonly string[],
): Mapping[] {
  const found: Mapping[] = [];
  for (const text of smaps.split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)) {
    const [, start, end, flags, path] =
      /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \d+ *(.*)$/m.exec(text) ?? [];
    if (path === undefined || !paths.includes(path)) continue;
    if (flags!.includes("w") || !/^Anonymous: +0 kB$/m.test(text)) continue;
    const first = BigInt(`0x${start}`);
    found.push({ start: first, bytes: BigInt(`0x${end}`) - first });
  }
  return found;
}
