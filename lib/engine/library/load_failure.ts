import { InstallError } from "../../pypi/install_error.ts";

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
