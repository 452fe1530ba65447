import { dirname } from "node:path";
import { RemediedError } from "../../pypi/remedied_error.ts";
import type { EngineChoice } from "./choice.ts";
import { inspectInstallation } from "./folder.ts";
import {
  hasBfloat16,
  type Host,
  instructionsOf,
  runProbe,
  thisHost,
} from "./host.ts";
import type { LoadedLibrary } from "./probe.ts";

/**
 * Checks an engine without installing anything: hashes the library's files,
 * then loads the library in a separate process.
 *
 * @returns Types of its devices, `["CPU", "GPU"]`, whether it multiplies
 * bfloat16 faster than float32, and the library, with the total size of its
 * files
 * @throws {RemediedError} If it is missing or damaged, or finds no GPU although
 * one was chosen.
 */
export async function checkEngine(
  choice: EngineChoice,
  host: Host = thisHost,
) {
  const bfloat16 = hasBfloat16(await instructionsOf(choice, host));
  if (choice.engine !== "tensorflow" || choice.library === undefined) {
    return { devices: [choice.device.toUpperCase()], bfloat16 };
  }
  const folder = dirname(choice.library);
  const installation = await inspectInstallation(folder, undefined, true);
  if (installation.state !== "intact") {
    throw new RemediedError(
      installation.state === "missing"
        ? `libtensorflow is not installed in "${folder}"`
        : `"${installation.path}" in "${folder}" is missing or has changed since the installation`,
      "Install it: deno task setup",
    );
  }
  const { version, devices } = await inspectLibrary(choice.library, choice.env);
  if (choice.device === "gpu" && !devices.includes("GPU")) {
    throw new RemediedError(
      "An NVIDIA driver is present, but libtensorflow finds no GPU",
      "Run nvidia-smi to see the driver's state, or set CUDA_VISIBLE_DEVICES=-1 to use the CPU",
    );
  }
  return {
    devices,
    bfloat16,
    library: { version, folder, bytes: installation.bytes },
  };
}

/**
 * Loads libtensorflow in a separate process and asks for its version and the
 * types of its devices.
 *
 * @param folder Folder of the library's files.
 * @param env Further environment variables of the process.
 * @throws {RemediedError} With an explanation.
 */
export async function inspectLibrary(
  folder: string,
  env: Readonly<Record<string, string>> = {},
): Promise<LoadedLibrary> {
  const { result, errors, signal } = await runProbe(folder, env);
  if (result === undefined) throw explainLoadFailure(errors, signal, folder);
  return result;
}

const REINSTALL = "Install it again: deno task setup";
const OTHER_ENGINE = "or use another engine: --engine webgpu, --engine wasm";

/**
 * Known failures of the loader: a pattern of its message, the problem, in which
 * `$1` is its group, and the remedy. The first match wins.
 */
const LOAD_FAILURES: readonly (readonly [RegExp, string, string])[] = [
  [
    /version [`'](GLIBC(?:XX)?_[\d.]+)' not found/,
    "This system is too old for libtensorflow: it lacks $1",
    `Use a system with glibc 2.27 or later, ${OTHER_ENGINE}`,
  ],
  [
    /libtensorflow[^\s]*: cannot open shared object file|cannot read file data|wrong ELF class|invalid ELF header|file too short|not a mach-o file|incompatible architecture/,
    "libtensorflow is damaged, incomplete, or built for another processor",
    REINSTALL,
  ],
  [
    /(ld-linux[^:\s]*|libc\.so\.6|symbol not found|Error relocating)/,
    "libtensorflow requires glibc, which this system does not have (it may use musl)",
    `Use a system with glibc, ${OTHER_ENGINE}`,
  ],
  [
    /(lib[\w.+-]+\.so[\w.]*): cannot open shared object file/,
    'libtensorflow requires "$1", which is not installed',
    `Install the package that provides it (libstdc++.so.6: libstdc++6 on Debian, libstdc++ elsewhere), ${OTHER_ENGINE}`,
  ],
  [
    /failed to map segment|Operation not permitted/,
    "The system does not allow code to run from libtensorflow's folder (it may be mounted noexec)",
    "Set DYLORA_CACHE to a folder on another disk",
  ],
  [
    /cannot allocate memory|std::bad_alloc/i,
    "Not enough memory to load libtensorflow, which takes about 400 MB",
    "Free some memory, or raise the limit of the container",
  ],
];

/**
 * Explains why the process that loads libtensorflow failed.
 *
 * @param output Its standard error.
 * @param signal The signal that ended it, if any.
 * @param folder Folder of the library's files.
 */
export function explainLoadFailure(
  output: string,
  signal: Deno.Signal | null,
  folder: string,
): RemediedError {
  const explain = (problem: string, remedy: string) =>
    new RemediedError(problem, remedy, {
      cause: new Error(output.trim()),
    });
  if (signal === "SIGILL") {
    return explain(
      "This processor lacks instructions that libtensorflow uses (AVX)",
      `Use a newer machine, ${OTHER_ENGINE}`,
    );
  }
  for (const [pattern, problem, remedy] of LOAD_FAILURES) {
    const [match] = pattern.exec(output) ?? [];
    if (match !== undefined) {
      return explain(match.replace(pattern, problem), remedy);
    }
  }
  // Deno's output has the error among log lines, source lines and the stack.
  const how = signal !== null
    ? `${signal} ended the process that loads it`
    : /^error: (.*)/m.exec(output)?.[1] ?? output.trim().split("\n").at(-1);
  return explain(
    `Cannot load libtensorflow from "${folder}": ${how}`,
    REINSTALL,
  );
}
