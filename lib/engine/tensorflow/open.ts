import { join } from "node:path";
import { type LibTensorflow, symbols } from "./symbols.ts";
import { cString } from "./c_string.ts";
import { keepFreedMemory } from "./freed_memory.ts";

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
