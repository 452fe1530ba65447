import { dirname, join, resolve } from "node:path";
import { digest } from "../store/digest.ts";
import { readIfThere } from "../store/files.ts";
import { fingerprint } from "../store/stats.ts";

/** Compiler options that change what a module does. */
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

/** Settings of a project that change what its code does. */
export interface ProjectSettings {
  /** Files that were read, with their digests; the digest of a missing file is empty. */
  readonly files: readonly (readonly [path: string, raw: string])[];
  readonly emit: EmitOptions;
  /**
   * True if modules must not be reduced: types are emitted as metadata, or
   * `tsconfig.json`, which Deno reads in some cases only, has emit options.
   */
  readonly asWritten: boolean;
  /** Emit options, and `type`, of settings files other than `deno.json`, by their names. */
  readonly beside: Readonly<Record<string, EmitOptions>>;
  /** Unstable features of Deno that are enabled. */
  readonly unstable: readonly string[];
  /** What imports in `deno.json`, `package.json`, the import map and the lock file lead to. */
  readonly resolution: Readonly<Record<string, unknown>>;
  /** True if the project has a lock file. */
  readonly isLocked: boolean;
  /** Integrity of each package in the lock file: of npm by `name@version`, of JSR by `jsr:name@version`, of other modules by URL. */
  readonly integrity: ReadonlyMap<string, string>;
}

/** Deno flags that resolve imports as the project does, without changing its lock file. */
export function projectFlags(project: string): string[] {
  const lock = join(project, "deno.lock");
  return [
    "--config",
    join(project, "deno.json"),
    ...(fingerprint(lock) === undefined
      ? ["--no-lock"]
      : ["--lock", lock, "--frozen"]),
  ];
}

/** Where Deno notes which packages it has linked in `node_modules`. */
const INSTALLED = "node_modules/.deno/.setup-cache.bin";

/**
 * The file in which Deno notes how `node_modules` is set up, and its digest:
 * another lock file may have been installed since.
 */
export function installation(project: string): readonly [string, string] {
  const path = join(project, INSTALLED);
  return [path, readBytesDigest(path)];
}

/** Matches an npm specifier of a lock file that only one version fits. */
const EXACT = /^npm:\/?@?[^@]+@\d+\.\d+\.\d+[^\s|<>~^*]*$/;

/**
 * Deno flags that take the packages as they are installed in the project's
 * `node_modules`. Otherwise Deno compares all folders of packages with the lock
 * file, once for each import of a package, which takes 200 ms of an engine's
 * stage. None if the project does not have its packages there, or the lock file
 * alone says which version an import means.
 */
export function asInstalled(project: string): string[] {
  const config = readJson(join(project, "deno.json"))?.value;
  const lock = readJson(join(project, "deno.lock"))?.value;
  const isExact = lock !== undefined &&
    Object.keys(record(lock.specifiers))
      .every((name) => !name.startsWith("npm:") || EXACT.test(name));
  return config?.nodeModulesDir === "auto" && isExact &&
      fingerprint(join(project, INSTALLED)) !== undefined
    ? ["--node-modules-dir=manual"]
    : [];
}

/** Files that Deno reads besides `deno.json`: the first says whether `.js` is CommonJS, the second has compiler options. */
const BESIDE = ["package.json", "tsconfig.json"];

/** Settings of other files that refer to further files, which are not supported. */
const ELSEWHERE = ["workspaces", "extends", "references"];

/**
 * Settings of `deno.json` that are understood. They cannot change what code
 * does, except for those that keys contain: `compilerOptions`, `unstable`, and
 * what resolves imports, by the module that each import leads to.
 */
const UNDERSTOOD = new Set([
  "$schema",
  "allowScripts",
  "bench",
  "compile",
  "compilerOptions",
  "deploy",
  "description",
  "exclude",
  "exports",
  "fmt",
  "importMap",
  "imports",
  "license",
  "lint",
  "lock",
  "minimumDependencyAge",
  "name",
  "nodeModulesDir",
  "nodeModulesLinker",
  "permissions",
  "publish",
  "scopes",
  "tasks",
  "test",
  "unstable",
  "vendor",
  "version",
]);

/** Resolves imports without file extensions, so that a new file can change what an old import means. */
const SLOPPY = "sloppy-imports";

/**
 * Reads `deno.json`, `deno.lock` and other files that say how code runs.
 *
 * @throws {Error} If `deno.json` is missing, a file is not valid JSON, or a setting is not supported.
 */
export function projectSettings(project: string): ProjectSettings {
  const configPath = join(project, "deno.json");
  const lockPath = join(project, "deno.lock");
  const config = readJson(configPath);
  if (config === undefined) throw new Error(`"${configPath}" does not exist`);
  const lock = readJson(lockPath);
  const files = [[configPath, config.raw] as const];
  files.push([lockPath, lock?.raw ?? ""]);
  const { importMap, imports, scopes, unstable } = config.value;
  const resolution: Record<string, unknown> = {
    imports: imports ?? {},
    scopes: scopes ?? {},
    locked: record(lock?.value.specifiers),
  };
  refuseUnknown(configPath, config.value);
  refuseWorkspaceAbove(project);
  if (typeof importMap === "string") {
    if (/^\w+:/.test(importMap)) {
      throw new Error(
        `"${configPath}" has the URL "${importMap}" as "importMap"; write the path of a file in the project`,
      );
    }
    const map = join(project, importMap);
    const read = readJson(map);
    files.push([map, read?.raw ?? ""]);
    resolution.map = read?.value ?? {};
  }
  if (Array.isArray(unstable) && unstable.includes(SLOPPY)) {
    throw new Error(
      `"${configPath}" enables "${SLOPPY}", with which a new file could change what code does; remove it and write file extensions in imports`,
    );
  }
  const emit = emitOptions(config.value);
  const beside: Record<string, EmitOptions> = {};
  for (const name of BESIDE) {
    const path = join(project, name);
    const read = readJson(path);
    files.push([path, read?.raw ?? ""]);
    if (read === undefined) continue;
    refuseElsewhere(path, read.value);
    if (name === "package.json") {
      const { dependencies, devDependencies, imports } = read.value;
      resolution.package = { dependencies, devDependencies, imports };
    }
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
    resolution,
    isLocked: lock !== undefined,
    integrity: integrityIn(record(lock?.value)),
  };
}

function integrityIn(
  { npm, jsr, remote }: Readonly<Record<string, unknown>>,
): Map<string, string> {
  const packages = (entries: unknown, prefix: string) =>
    Object.entries(record(entries)).map(([name, entry]) =>
      [prefix + name, String(record(entry).integrity ?? "")] as const
    );
  return new Map([
    ...packages(npm, ""),
    ...packages(jsr, "jsr:"),
    ...Object.entries(record(remote)).map(([url, sum]) =>
      [url, String(sum)] as const
    ),
  ]);
}

function emitOptions(settings: Readonly<Record<string, unknown>>): EmitOptions {
  const options = record(settings.compilerOptions);
  return Object.fromEntries(
    EMIT_OPTIONS.filter((name) => name in options)
      .map((name) => [name, options[name]]),
  );
}

/**
 * Refuses settings that are not {@linkcode UNDERSTOOD}: code that they add, as
 * `links` and `workspace` do, would not be part of a key.
 */
function refuseUnknown(
  path: string,
  value: Readonly<Record<string, unknown>>,
): void {
  const name = Object.keys(value).find((name) => !UNDERSTOOD.has(name));
  if (name === undefined) return;
  throw new Error(
    `"${path}" has the setting "${name}", which is not supported, since it could change what code does without a new key; remove it`,
  );
}

/** Refuses a workspace that contains the project: Deno would apply the settings of its root as well. */
function refuseWorkspaceAbove(project: string): void {
  for (let folder = dirname(resolve(project));; folder = dirname(folder)) {
    for (const name of ["deno.json", "deno.jsonc", "package.json"]) {
      const path = join(folder, name);
      const key = name === "package.json" ? "workspaces" : "workspace";
      // Not parsed as JSON, since it may have comments.
      if (!readIfThere(path)?.includes(`"${key}"`)) continue;
      throw new Error(
        `"${path}" has "${key}", and Deno would apply its settings to the project in "${project}"; move the project out of the workspace`,
      );
    }
    if (folder === dirname(folder)) return;
  }
}

function refuseElsewhere(
  path: string,
  value: Readonly<Record<string, unknown>>,
): void {
  const name = ELSEWHERE.find((name) => value[name] !== undefined);
  if (name === undefined) return;
  throw new Error(
    `"${path}" has "${name}", which refers to further files; write their settings into deno.json`,
  );
}

function readBytesDigest(path: string): string {
  try {
    return digest(Deno.readFileSync(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

function readJson(path: string) {
  const text = readIfThere(path);
  if (text === undefined) return undefined;
  try {
    return { raw: digest(text), value: record(JSON.parse(text)) };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new Error(`"${path}" is not valid JSON: ${error.message}`, {
      cause: error,
    });
  }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null
    ? value as Record<string, unknown>
    : {};
}
