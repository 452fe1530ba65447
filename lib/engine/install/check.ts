import { dirname } from "node:path";
import { z } from "zod";
import { InstallError } from "../../pypi/install_error.ts";
import type { EngineChoice } from "./choice.ts";
import { checkFiles } from "./folder.ts";
import { hasBfloat16, type Host, thisHost } from "./host.ts";

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

const inspectionSchema = z.strictObject({
  version: z.string(),
  devices: z.array(z.string()).nonempty(),
});

/**
 * Loads libtensorflow in a process of its own and asks for its version and devices.
 *
 * @param folder Folder that holds the library's files.
 * @param env Environment variables that the process gets besides its own.
 * @throws {InstallError} `not-loadable`, with the remedy.
 */
export async function inspectLibrary(
  folder: string,
  env: Readonly<Record<string, string>> = {},
): Promise<z.output<typeof inspectionSchema>> {
  const { success, signal, stdout, stderr } = await new Deno.Command(
    Deno.execPath(),
    {
      args: [
        ...["run", "--quiet", "--no-prompt", "--no-config", "--allow-ffi"],
        ...[
          `--allow-read=${folder}`,
          new URL("inspection.ts", import.meta.url).href,
          folder,
        ],
      ],
      env: { ...env, NO_COLOR: "1" },
      stdin: "null",
    },
  ).output();
  const text = new TextDecoder().decode(stdout);
  if (success) {
    return inspectionSchema.parse(JSON.parse(text.trim().split("\n").at(-1)!));
  }
  throw explainLoadFailure(new TextDecoder().decode(stderr), signal, folder);
}

/**
 * Checks that a library just unpacked can be loaded here.
 *
 * @throws {InstallError} `not-loadable`, with the remedy.
 */
export async function verifyLibrary(
  folder: string,
  version: string,
): Promise<void> {
  const inspection = await inspectLibrary(folder);
  if (inspection.version !== version) {
    throw new InstallError(
      "not-loadable",
      `The library says it is release ${inspection.version}, not ${version}`,
      "The package index gave another file: look at pip's settings (python3 -m pip config list)",
    );
  }
}

const INSTALL_ANEW =
  "Remove its folder from the cache and install it again: deno task setup";
const OTHER_ENGINE = "or use another engine: --engine webgpu, --engine wasm";

/** What the loader writes when it refuses a library, and what that means; the first that matches counts. */
const GLOSSARY: readonly {
  readonly pattern: RegExp;
  readonly problem: (match: RegExpExecArray) => string;
  readonly remedy: string;
}[] = [
  {
    pattern: /version [`'](GLIBC(?:XX)?_[\d.]+)' not found/,
    problem: ([, version]) =>
      `This system is too old for libtensorflow: it lacks ${version}`,
    remedy: `Use a system with glibc 2.27 or later, ${OTHER_ENGINE}`,
  },
  {
    pattern:
      /libtensorflow[^\s]*: cannot open shared object file|cannot read file data|wrong ELF class|invalid ELF header|file too short|not a mach-o file|incompatible architecture/,
    problem: () =>
      "libtensorflow is damaged, incomplete, or made for another processor",
    remedy: INSTALL_ANEW,
  },
  {
    pattern: /(ld-linux[^:\s]*|libc\.so\.6|symbol not found|Error relocating)/,
    problem: () =>
      "libtensorflow needs glibc, which this system does not have (musl?)",
    remedy: `Use a system with glibc, ${OTHER_ENGINE}`,
  },
  {
    pattern: /(lib[\w.+-]+\.so[\w.]*): cannot open shared object file/,
    problem: ([, name]) =>
      `libtensorflow needs "${name}", which is not installed`,
    remedy:
      `Install the package that holds it (libstdc++.so.6: libstdc++6 on Debian, libstdc++ elsewhere), ${OTHER_ENGINE}`,
  },
  {
    pattern: /failed to map segment|Operation not permitted/,
    problem: () =>
      "The system refuses to run code from the folder of libtensorflow (mounted noexec?)",
    remedy: "Name a folder on another disk in DYLORA_CACHE",
  },
  {
    pattern: /cannot allocate memory|std::bad_alloc/i,
    problem: () =>
      "There is too little memory to load libtensorflow, which takes about 400 MB",
    remedy: "Free some memory, or raise the limit of the container",
  },
];

/**
 * Explains why the process that loaded libtensorflow failed.
 *
 * @param output What it wrote to standard error.
 * @param signal The signal that ended it, if one did.
 */
export function explainLoadFailure(
  output: string,
  signal: Deno.Signal | null,
  folder: string,
): InstallError {
  const explain = (problem: string, remedy: string) =>
    new InstallError("not-loadable", problem, remedy, {
      cause: new Error(output.trim()),
    });
  if (signal === "SIGILL") {
    return explain(
      "This processor lacks instructions that libtensorflow uses (AVX)",
      `Use a newer machine, ${OTHER_ENGINE}`,
    );
  }
  for (const { pattern, problem, remedy } of GLOSSARY) {
    const match = pattern.exec(output);
    if (match !== null) return explain(problem(match), remedy);
  }
  const how = signal === null
    ? errorLine(output)
    : `the process that loads it was ended by ${signal}`;
  return explain(
    `libtensorflow in "${folder}" cannot be loaded: ${how}`,
    INSTALL_ANEW,
  );
}

/** The line with the error, among log lines, source lines and the stack. */
function errorLine(output: string): string {
  const lines = output.trim().split("\n");
  return lines.find((line) => line.startsWith("error: "))?.slice(
    "error: ".length,
  ) ??
    lines.at(-1) ?? "";
}
