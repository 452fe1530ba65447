import { join } from "node:path";
import { digest } from "../../store/digest.ts";
import { fingerprint } from "../../store/fingerprint.ts";

/** Compiler options that change what a module does, not just how it is checked. */
export type EmitOptions = Readonly<Record<string, unknown>>;

const EMIT_OPTIONS = [
  "emitDecoratorMetadata",
  "experimentalDecorators",
  "jsx",
  "jsxFactory",
  "jsxFragmentFactory",
  "jsxImportSource",
  "jsxPrecompileSkipElements",
  "useDefineForClassFields",
  "verbatimModuleSyntax",
];

/** What a project's settings say about its code. */
export interface ProjectSettings {
  /** The files read, with their digests; an empty digest for one that is missing. */
  readonly files: readonly (readonly [path: string, raw: string])[];
  readonly emit: EmitOptions;
  /**
   * True if code counts as it is written: types are emitted as metadata, or
   * compiler options stand where they may or may not be heeded.
   */
  readonly asWritten: boolean;
  /** What settings files beside `deno.json` say that changes what a module does, by the file's name. */
  readonly beside: Readonly<Record<string, EmitOptions>>;
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

/** Files that the runtime heeds beside `deno.json`: one says whether `.js` is CommonJS, one has compiler options. */
const BESIDE = ["package.json", "tsconfig.json"];

/** Settings by which other files would have a say, which nothing here follows. */
const ELSEWHERE = ["workspace", "workspaces", "extends", "references"];

/**
 * Reads `deno.json` and `deno.lock`, and what else says how code is run.
 *
 * @throws {Error} If there is no `deno.json`, one of them is not JSON, or one
 * leaves settings to further files.
 */
export function projectSettings(project: string): ProjectSettings {
  const config = readJson(configFile(project));
  if (config === undefined) {
    throw new Error(`"${configFile(project)}" is missing`);
  }
  const lock = readJson(join(project, "deno.lock"));
  const files = [[config.path, config.raw] as const];
  files.push([join(project, "deno.lock"), lock?.raw ?? ""]);
  const { importMap, unstable } = config.value;
  if (typeof importMap === "string") {
    const map = join(project, importMap);
    files.push([map, readJson(map)?.raw ?? ""]);
  }
  refuseElsewhere(config);
  refuseSloppy(config);
  const emit = emitOptions(config.value);
  const beside: Record<string, EmitOptions> = {};
  for (const name of BESIDE) {
    const read = readJson(join(project, name));
    files.push([join(project, name), read?.raw ?? ""]);
    if (read === undefined) continue;
    refuseElsewhere(read);
    beside[name] = {
      ...emitOptions(read.value),
      ...(name === "package.json" && { type: read.value.type }),
    };
  }
  return {
    files,
    emit,
    asWritten: emit.emitDecoratorMetadata === true ||
      Object.keys(beside["tsconfig.json"] ?? {}).length > 0,
    beside,
    unstable: Array.isArray(unstable) ? unstable.map(String).sort() : [],
    integrity: new Map(
      Object.entries(record(lock?.value.npm)).map(([name, entry]) => [
        name,
        String(record(entry).integrity ?? ""),
      ]),
    ),
  };
}

function emitOptions(settings: Readonly<Record<string, unknown>>): EmitOptions {
  const options = record(settings.compilerOptions);
  return Object.fromEntries(
    EMIT_OPTIONS.filter((name) => name in options)
      .map((name) => [name, options[name]]),
  );
}

/** Lets imports leave out endings, so that a new file can change what an old import means. */
const SLOPPY = "sloppy-imports";

function refuseSloppy(
  { path, value }: NonNullable<ReturnType<typeof readJson>>,
): void {
  if (!Array.isArray(value.unstable) || !value.unstable.includes(SLOPPY)) {
    return;
  }
  throw new Error(
    `"${path}" has "${SLOPPY}": a new file could change what code does unseen, so write the endings of imports and take it out`,
  );
}

function refuseElsewhere(
  { path, value }: NonNullable<ReturnType<typeof readJson>>,
): void {
  const name = ELSEWHERE.find((name) => value[name] !== undefined);
  if (name === undefined) return;
  throw new Error(
    `"${path}" has "${name}": what further files say of the code would be missed, so write it into deno.json itself`,
  );
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
