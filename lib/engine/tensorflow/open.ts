import { join } from "node:path";
import { cString, type LibTensorflow, type Status, symbols } from "./c_api.ts";

const libraryNames = Deno.build.os === "darwin"
  ? ["libtensorflow_framework.2.dylib", "libtensorflow_cc.2.dylib"]
  : ["libtensorflow_framework.so.2", "libtensorflow_cc.so.2"];

const RTLD_NOW = 0x2;
const RTLD_NODELETE = Deno.build.os === "darwin" ? 0x80 : 0x1000;

/** Settings of the library, by environment variable; the user's own win. */
const librarySettings = {
  // Only warnings and errors.
  TF_CPP_MIN_LOG_LEVEL: "1",
  // Left to itself the library uses oneDNN's products only on processors with AVX512.
  TF_ENABLE_ONEDNN_OPTS: "1",
  // None of YNNPACK: threads that run a compiled loop for the first time at once
  // all append to one vector while they build its graph, and crash now and then.
  XLA_FLAGS: "--xla_cpu_experimental_ynn_fusion_type=",
};

/**
 * Opens libtensorflow from the folder that holds its two files.
 *
 * Deno unloads libraries when it exits and libtensorflow crashes when it is
 * unloaded, so it is opened through libc once before, with `RTLD_NODELETE`:
 * it then stays mapped and the exit code is the program's own.
 *
 * @throws {Error} With the loader's own message when a file cannot be loaded.
 */
export function openLibtensorflow(folder: string): LibTensorflow {
  const libc = Deno.dlopen(
    Deno.build.os === "darwin" ? "libSystem.dylib" : "libc.so.6",
    {
      dlopen: { parameters: ["buffer", "i32"], result: "pointer" },
      dlerror: { parameters: [], result: "pointer" },
      setenv: { parameters: ["buffer", "buffer", "i32"], result: "i32" },
    },
  );
  for (const [name, value] of Object.entries(librarySettings)) {
    libc.symbols.setenv(cString(name), cString(value), 0);
  }
  keepFreedMemory();
  const paths = libraryFiles(folder);
  for (const path of paths) {
    if (libc.symbols.dlopen(cString(path), RTLD_NOW | RTLD_NODELETE) === null) {
      const message = libc.symbols.dlerror();
      throw new Error(
        `Cannot load "${path}": ${
          message
            ? Deno.UnsafePointerView.getCString(message)
            : "unknown reason"
        }`,
      );
    }
  }
  return Deno.dlopen(paths.at(-1)!, symbols).symbols;
}

/** The two files of the library; the last one needs the one before it. */
export function libraryFiles(folder: string): string[] {
  return libraryNames.map((name) => join(folder, name));
}

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

/**
 * Parameters of glibc's `mallopt`, by their numbers in `malloc.h`.
 *
 * A step allocates and frees the same large tensors again and again. By
 * default each of them is mapped and unmapped, and the kernel clears every page
 * of it: a fifth of a step's time. Kept in one heap that does not shrink, they
 * are handed out again as they are.
 */
const parameters = {
  M_MMAP_MAX: [-4, 0],
  M_TRIM_THRESHOLD: [-1, 2 ** 31 - 1],
  M_TOP_PAD: [-2, 2 ** 26],
  M_ARENA_MAX: [-8, 1],
} as const;

/**
 * Has this process keep the memory that the library frees, for its next
 * tensors. Does nothing where the C library is not glibc, which other
 * allocators need not imitate.
 *
 * @throws {Error} If glibc refuses a parameter
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
  for (const [name, [number, value]] of Object.entries(parameters)) {
    if (mallopt(number, value) !== 1) {
      throw new Error(`mallopt refuses ${name} = ${value}`);
    }
  }
}

const O_RDONLY = 0;
const MADV_DONTNEED = 4;

/** A stretch of this process's memory. */
interface Mapping {
  readonly start: bigint;
  readonly bytes: bigint;
}

/**
 * Takes the pages of loaded files out of this process's resident memory: most
 * were read only to load them, a few hundred MiB of libtensorflow's symbols,
 * relocations and start-up code. Those that are used come back from the
 * kernel's page cache at their next use.
 *
 * Only pages that nothing has written to are taken out, which hold nothing but
 * what the file holds. Does nothing where the kernel is not Linux, or does not
 * tell of mappings.
 *
 * @param paths Files that stay as they are on disk
 * @throws {Error} If the kernel refuses.
 */
export function releaseLoadingPages(paths: readonly string[]): void {
  if (Deno.build.os !== "linux") return;
  const libc = Deno.dlopen("libc.so.6", {
    madvise: { parameters: ["usize", "usize", "i32"], result: "i32" },
  });
  try {
    for (const { start, bytes } of unwrittenMappings(readMappings(), paths)) {
      if (libc.symbols.madvise(start, bytes, MADV_DONTNEED) !== 0) {
        throw new Error(`The kernel refuses to release pages at ${start}`);
      }
    }
  } finally {
    libc.close();
  }
}

/** The kernel's list of mappings, empty if there is none; through libc, since Deno lets only those read it that may read everything. */
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

/**
 * Stretches of memory that map one of the files and hold no page of their own.
 *
 * @param smaps Text of `/proc/self/smaps`: for each mapping a line such as
 *   `7f00-7fa0 r-xp 00000000 fe:00 42  /path`, then `Anonymous:  0 kB` and others
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
