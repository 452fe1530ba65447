import * as esbuild from "esbuild";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { digest } from "../store/digest.ts";
import { fingerprint } from "../store/stats.ts";

/** Compiler options that change what a module does, not just how it is checked. */
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
function configFile(project: string): string {
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

/** A module as the runtime resolves it. */
export interface Module {
  readonly specifier: string;
  /** File that holds it. */
  readonly path: string;
  /** As `deno info` names it: `TypeScript`, `Json`. */
  readonly mediaType: string;
  readonly text: Uint8Array;
  /** SHA-256 of the text. */
  readonly raw: string;
  /** Where each import that is not of types only leads: a module, a package (`npm:`) or a built-in (`node:`). */
  readonly imports: ReadonlyMap<string, string>;
}

/** Modules that entries import, directly or not, and the packages that these import. */
export interface ModuleGraph {
  readonly modules: ReadonlyMap<string, Module>;
  /** Packages by `name@version`, with the packages that each needs. */
  readonly packages: ReadonlyMap<string, readonly string[]>;
}

/** The part of `deno info --json` that is used. */
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

/** Milliseconds in which a write may not show in a file's times. */
const TICK = 50;
const TRIES = 20;

/**
 * The module graph of an entry module, found by the runtime itself, with the
 * texts that it was found from.
 *
 * @throws {Error} If a module is missing or does not parse, or files never hold still.
 */
export async function moduleGraph(
  entry: string,
  project: string,
): Promise<ModuleGraph> {
  await install(entry, project);
  let before: ModuleGraph | undefined;
  for (let tries = 0; tries < TRIES; tries++) {
    const start = Date.now();
    const info = await denoInfo(entry, project);
    const graph = read(info);
    const quiet = [...graph.modules.values()].every(({ path }) =>
      (fingerprint(path)?.modified ?? Infinity) < start - TICK
    );
    // A time that lies in the future, as after the clock was set back, says nothing.
    if (quiet || (before !== undefined && equal(before, graph))) return graph;
    before = graph;
    await new Promise((resolve) => setTimeout(resolve, 2 * TICK));
  }
  throw new Error(
    "The project's modules keep changing; run again when they are saved",
  );
}

/** True if all modules are the same, with the same texts. */
function equal({ modules: a }: ModuleGraph, { modules: b }: ModuleGraph) {
  return a.size === b.size &&
    [...a].every(([specifier, { raw }]) => b.get(specifier)?.raw === raw);
}

/** Fetches the packages that the modules import, if they are not there yet. */
async function install(entry: string, project: string): Promise<void> {
  await deno(
    "install",
    "--quiet",
    ...projectFlags(project),
    "--entrypoint",
    entry,
  );
}

async function denoInfo(entry: string, project: string): Promise<Info> {
  const json = await deno("info", "--json", ...projectFlags(project), entry);
  return JSON.parse(json) as Info;
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
  throw new Error(`The project's modules cannot be read: ${message}`);
}

function read(info: Info): ModuleGraph {
  const modules = new Map<string, Module>();
  const ends = new Map<string, string>();
  for (const { specifier, npmPackage } of info.modules) {
    if (npmPackage !== undefined) ends.set(specifier, `npm:${npmPackage}`);
  }
  const resolve = (specifier: string): string => {
    const target = info.redirects[specifier] ?? specifier;
    return ends.get(target) ?? target;
  };
  for (const module of info.modules) {
    if (module.error !== undefined) throw new Error(plain(module.error));
    if (module.local === undefined) continue;
    const text = Deno.readFileSync(module.local);
    const imports = new Map<string, string>();
    for (const { specifier, code } of module.dependencies ?? []) {
      if (code?.error !== undefined) {
        throw new Error(
          `"${specifier}", imported by "${name(module.specifier)}": ${
            plain(code.error)
          }`,
        );
      }
      if (code?.specifier !== undefined) {
        imports.set(specifier, resolve(code.specifier));
      }
    }
    modules.set(module.specifier, {
      specifier: module.specifier,
      path: module.local,
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

function name(specifier: string): string {
  return specifier.startsWith("file:") ? fileURLToPath(specifier) : specifier;
}

function plain(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/\x1b\[[0-9;]*m/g, "").trim();
}

const LOADERS: Readonly<Record<string, esbuild.Loader>> = {
  TypeScript: "ts",
  Mts: "ts",
  Cts: "ts",
  JavaScript: "js",
  Mjs: "js",
  Cjs: "js",
};

/** What a module is reduced to: what it does, without comments, types and formatting. */
export interface Reduced {
  readonly text: string;
  /** Specifiers of the imports that remain: those of types only are gone. */
  readonly imports: readonly string[];
}

/**
 * True if the module can be reduced. Others count as they are: data, and JSX,
 * whose comments can say what it is compiled to.
 */
export function isReducible(module: Pick<Module, "mediaType">): boolean {
  return module.mediaType in LOADERS;
}

/**
 * Reduces modules to what they do. esbuild parses and prints them: comments,
 * types, white space, quotes and number formats go; names, order and
 * statements stay, whether used or not.
 *
 * The printed text has one statement a line, so that it can be compared.
 *
 * @throws {Error} If a module does not parse.
 */
export async function reduceModules(
  modules: readonly Module[],
  options: EmitOptions,
): Promise<Map<string, Reduced>> {
  const reduced = await Promise.all(modules.map(async (module) => {
    const { code } = await reduceText(module, options);
    return [module.specifier, {
      text: code,
      imports: await remainingImports(code),
    }] as const;
  }));
  return new Map(reduced);
}

/**
 * One module's reduced text, with a source map that leads back to its lines.
 * Printing without white space first takes away the comments within
 * expressions that esbuild would keep otherwise.
 */
export async function reduceText(
  module: Pick<Module, "mediaType" | "text" | "path">,
  options: EmitOptions,
): Promise<{ code: string; map: string }> {
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

/** Ends esbuild's process, which would keep the program from ending. */
export async function stopReducing(): Promise<void> {
  await esbuild.stop();
}

async function remainingImports(code: string): Promise<string[]> {
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
