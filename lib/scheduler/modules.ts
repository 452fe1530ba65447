import type { Loader } from "esbuild";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { digest } from "../store/digest.ts";
import { fingerprint } from "../store/stats.ts";

/** Modules that entries import, directly or not, and the packages that these import. */
export interface ModuleGraph {
  /** By specifier. */
  readonly modules: ReadonlyMap<string, Module>;
  /** Packages by `name@version`, with the packages that each depends on. */
  readonly packages: ReadonlyMap<string, readonly string[]>;
}

/** A module as Deno resolves it. */
export interface Module {
  readonly specifier: string;
  /** File that has its text. */
  readonly path: string;
  /** As in `deno info`: `TypeScript`, `Json`. */
  readonly mediaType: string;
  readonly text: Uint8Array;
  /** SHA-256 of the text. */
  readonly raw: string;
  /** What each specifier, except for those imported as types, resolves to: a module, a package (`npm:`) or a built-in (`node:`). */
  readonly imports: ReadonlyMap<string, string>;
}

/** The part of the output of `deno info --json` that is used. */
interface Info {
  readonly modules: readonly {
    readonly specifier: string;
    readonly kind?: string;
    readonly local?: string;
    readonly mediaType?: string;
    readonly npmPackage?: string;
    readonly error?: string;
    readonly dependencies?: readonly {
      readonly specifier: string;
      readonly code?: { readonly specifier?: string; readonly error?: string };
    }[];
  }[];
  readonly redirects: Readonly<Record<string, string>>;
  readonly npmPackages?: Readonly<
    Record<string, { readonly dependencies: readonly string[] }>
  >;
}

/** Milliseconds within which a write may leave a file's times as they are. */
const TICK = 50;
const TRIES = 20;

/**
 * The module graph of entry modules, as `deno info` resolves it, with the text
 * of each module. Packages that are missing are installed.
 *
 * @throws {Error} If a module is missing or does not parse, or files change all the time.
 */
export async function moduleGraph(
  entries: readonly string[],
  project: string,
): Promise<ModuleGraph> {
  const folder = Deno.makeTempDirSync({ prefix: "modules-" });
  try {
    // One module that imports all entries: one call of Deno.
    const entry = join(folder, "entry.js");
    Deno.writeTextFileSync(
      entry,
      entries.map((module) => `import ${JSON.stringify(module)};\n`).join(""),
    );
    Deno.utimeSync(entry, 0, 0);
    const flags = projectFlags(project);
    await deno("install", "--quiet", ...flags, "--entrypoint", entry);
    return await settledGraph(
      async () => JSON.parse(await deno("info", "--json", ...flags, entry)),
    );
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Reads the graph until no module has changed since Deno read it. */
async function settledGraph(info: () => Promise<Info>): Promise<ModuleGraph> {
  let before: ModuleGraph | undefined;
  for (let tries = 0; tries < TRIES; tries++) {
    const start = Date.now();
    const graph = readGraph(await info());
    const isQuiet = [...graph.modules.values()].every(({ path }) =>
      (fingerprint(path)?.modified ?? Infinity) < start - TICK
    );
    if (isQuiet) return graph;
    // A time in the future, as after the clock was set back, proves nothing.
    if (before !== undefined && haveSameTexts(before, graph)) return graph;
    before = graph;
    await new Promise((resolve) => setTimeout(resolve, 2 * TICK));
  }
  throw new Error(
    "The project's modules change all the time; run again after saving them",
  );
}

function haveSameTexts(
  { modules: a }: ModuleGraph,
  { modules: b }: ModuleGraph,
) {
  return a.size === b.size &&
    [...a].every(([specifier, { raw }]) => b.get(specifier)?.raw === raw);
}

async function deno(...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  if (success) return decoder.decode(stdout);
  const message = decoder.decode(stderr).trim().replace(/^error: /, "");
  throw new Error(`Cannot read the project's modules: ${message}`);
}

function readGraph(info: Info): ModuleGraph {
  const modules = new Map<string, Module>();
  const packages = new Map(
    info.modules.flatMap(({ specifier, npmPackage }) =>
      npmPackage === undefined ? [] : [[specifier, `npm:${npmPackage}`]]
    ),
  );
  const resolve = (specifier: string): string => {
    const target = info.redirects[specifier] ?? specifier;
    return packages.get(target) ?? target;
  };
  for (const module of info.modules) {
    const { specifier, local } = module;
    if (module.error !== undefined) throw new Error(plain(module.error));
    if (local === undefined) continue;
    const text = Deno.readFileSync(local);
    const imports = new Map<string, string>();
    for (const { specifier: name, code } of module.dependencies ?? []) {
      if (code?.error !== undefined) {
        const importer = specifier.startsWith("file:")
          ? fileURLToPath(specifier)
          : specifier;
        throw new Error(
          `"${name}", imported by "${importer}": ${plain(code.error)}`,
        );
      }
      if (code?.specifier !== undefined) {
        imports.set(name, resolve(code.specifier));
      }
    }
    modules.set(specifier, {
      specifier,
      path: local,
      mediaType: module.mediaType ?? "Unknown",
      text,
      raw: digest(text),
      imports,
    });
  }
  return {
    modules,
    packages: new Map(
      Object.entries(info.npmPackages ?? {})
        .map(([name, { dependencies }]) => [name, dependencies]),
    ),
  };
}

function plain(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/\x1b\[[0-9;]*m/g, "").trim();
}

/** What a module does: its code without comments, types and formatting. */
export interface Reduced {
  readonly text: string;
  /** Specifiers that are imported when it runs. */
  readonly imports: readonly string[];
}

const LOADERS: Readonly<Record<string, Loader>> = {
  TypeScript: "ts",
  Mts: "ts",
  Cts: "ts",
  JavaScript: "js",
  Mjs: "js",
  Cjs: "js",
};

/**
 * True if a module can be reduced. Others count as they are: data, and JSX,
 * whose comments can determine what it compiles to.
 */
export function isReducible(module: Pick<Module, "mediaType">): boolean {
  return module.mediaType in LOADERS;
}

/**
 * Reduces modules to what they do: esbuild parses and prints them. Comments,
 * types, white space, quotes and number formats disappear; names, order and
 * statements, used or not, stay.
 *
 * @returns By specifier.
 * @throws {Error} If a module does not parse.
 */
export async function reduceModules(
  modules: readonly Module[],
  options: EmitOptions,
): Promise<Map<string, Reduced>> {
  const reduced = await Promise.all(modules.map(async (module) => {
    const { code } = await reduceText(module, options);
    const imports = await remainingImports(code);
    return [module.specifier, { text: code, imports }] as const;
  }));
  return new Map(reduced);
}

/**
 * The reduced text of a module, one statement per line, and a source map to its
 * own lines. It is printed twice: first without white space, which removes
 * comments within expressions, too.
 */
export async function reduceText(
  module: Pick<Module, "mediaType" | "text" | "path">,
  options: EmitOptions,
): Promise<{ code: string; map: string }> {
  const esbuild = await import("esbuild");
  const common = {
    legalComments: "none",
    target: "esnext",
    charset: "utf8",
    logLevel: "silent",
    sourcesContent: false,
    tsconfigRaw: { compilerOptions: options },
  } as const;
  const bare = await esbuild.transform(module.text, {
    ...common,
    loader: LOADERS[module.mediaType]!,
    minifyWhitespace: true,
    sourcemap: "inline",
    sourcefile: module.path,
  });
  return await esbuild.transform(bare.code, {
    ...common,
    loader: "js",
    sourcemap: "external",
    sourcefile: module.path,
  });
}

/** Ends esbuild's process, which otherwise keeps the program alive. */
export async function stopReducing(): Promise<void> {
  const esbuild = await import("esbuild");
  await esbuild.stop();
}

async function remainingImports(code: string): Promise<string[]> {
  const esbuild = await import("esbuild");
  const imports = new Set<string>();
  await esbuild.build({
    stdin: { contents: code, loader: "js" },
    bundle: true,
    write: false,
    format: "esm",
    logLevel: "silent",
    plugins: [{
      name: "imports",
      setup(build) {
        build.onResolve({ filter: /.*/ }, ({ path }) => {
          imports.add(path);
          return { path, external: true };
        });
      },
    }],
  });
  return [...imports].sort();
}

/** Compiler options that change what a module does. */
type EmitOptions = Readonly<Record<string, unknown>>;

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
  /** Integrity of each package in the lock file, by `name@version`. */
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

/** Files that Deno reads besides `deno.json`: the first says whether `.js` is CommonJS, the second has compiler options. */
const BESIDE = ["package.json", "tsconfig.json"];

/** Settings that refer to further files, which are not supported. */
const ELSEWHERE = ["workspace", "workspaces", "extends", "references"];

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
  const { importMap, unstable } = config.value;
  if (typeof importMap === "string") {
    const map = join(project, importMap);
    files.push([map, readJson(map)?.raw ?? ""]);
  }
  refuseElsewhere(configPath, config.value);
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

function readJson(path: string) {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
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
