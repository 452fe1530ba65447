import { join } from "node:path";
import { digest } from "../store/digest.ts";
import { fingerprint } from "../store/fingerprint.ts";

/** Compiler options that change what a module does, not just how it is checked. */
export type EmitOptions = Readonly<Record<string, unknown>>;

const EMIT_OPTIONS = [
  "emitDecoratorMetadata",
  "experimentalDecorators",
  "jsx",
  "jsxFactory",
  "jsxFragmentFactory",
  "jsxImportSource",
  "useDefineForClassFields",
  "verbatimModuleSyntax",
];

/** What a project's settings say about its code. */
export interface ProjectSettings {
  /** The files read, with their digests; an empty digest for one that is missing. */
  readonly files: readonly (readonly [path: string, raw: string])[];
  readonly emit: EmitOptions;
  /** Unstable features of the runtime that are switched on. */
  readonly unstable: readonly string[];
  /** Integrity of each package in the lock file, by `name@version`. */
  readonly integrity: ReadonlyMap<string, string>;
}

/** The settings file of a project. */
export function configFile(project: string): string {
  return join(project, "deno.json");
}

/** Flags of the runtime that make it resolve imports as the project does, and leave the lock file alone. */
export function projectFlags(project: string): string[] {
  const lock = join(project, "deno.lock");
  return [
    "--config",
    configFile(project),
    ...(fingerprint(lock) === undefined
      ? ["--no-lock"]
      : ["--lock", lock, "--frozen"]),
  ];
}

/**
 * Reads `deno.json` and `deno.lock`.
 *
 * @throws {Error} If there is no `deno.json`, or one of them is not JSON.
 */
export function projectSettings(project: string): ProjectSettings {
  const config = readJson(configFile(project));
  if (config === undefined) {
    throw new Error(`"${configFile(project)}" is missing`);
  }
  const lock = readJson(join(project, "deno.lock"));
  const options = record(config.value.compilerOptions);
  const unstable = config.value.unstable;
  return {
    files: [
      [config.path, config.raw],
      [join(project, "deno.lock"), lock?.raw ?? ""],
    ],
    emit: Object.fromEntries(
      EMIT_OPTIONS.filter((name) => name in options)
        .map((name) => [name, options[name]]),
    ),
    unstable: Array.isArray(unstable) ? unstable.map(String).sort() : [],
    integrity: new Map(
      Object.entries(record(lock?.value.npm)).map(([name, entry]) => [
        name,
        String(record(entry).integrity ?? ""),
      ]),
    ),
  };
}

function readJson(path: string) {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  try {
    return { path, raw: digest(text), value: record(JSON.parse(text)) };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new Error(`"${path}" is not JSON: ${error.message}`, {
      cause: error,
    });
  }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null
    ? value as Record<string, unknown>
    : {};
}
