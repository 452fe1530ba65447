import type { Loader } from "esbuild";
import { fileURLToPath } from "node:url";
import { digest } from "../store/digest.ts";
import { fingerprint } from "../store/stats.ts";
import { type EmitOptions, projectFlags } from "./project.ts";

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

/** Milliseconds within which a second write may leave a file's times unchanged. */
const TICK = 50;
const TRIES = 20;

/**
 * The module graph of entry modules, as `deno info` resolves it, with the text
 * of each module. Packages that are missing are installed.
 *
 * @throws {Error} If a module is missing or does not parse, or files keep changing.
 */
export async function moduleGraph(
  entries: readonly string[],
  project: string,
): Promise<ModuleGraph> {
  const flags = projectFlags(project);
  await deno("install", "--quiet", ...flags, "--entrypoint", ...entries);
  // One module that imports all entries: one call of Deno.
  const text = entries.map((module) => `import ${JSON.stringify(module)};`)
    .join("");
  const entry = `data:application/javascript,${encodeURIComponent(text)}`;
  return await settledGraph(
    async () => JSON.parse(await deno("info", "--json", ...flags, entry)),
  );
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
    // A time in the future (the clock was set back) proves nothing.
    if (before !== undefined && haveSameTexts(before, graph)) return graph;
    before = graph;
    await new Promise((resolve) => setTimeout(resolve, 2 * TICK));
  }
  throw new Error(
    "The project's modules keep changing; run again when they have been saved",
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
 * True if a module can be reduced. Others count unchanged: data, and JSX, whose
 * comments can determine what it compiles to.
 */
export function isReducible(module: Pick<Module, "mediaType">): boolean {
  return module.mediaType in LOADERS;
}

/** True for a module of code, not of data. */
export function isScript(module: Pick<Module, "mediaType">): boolean {
  return isReducible(module) || ["JSX", "TSX"].includes(module.mediaType);
}

/**
 * Reduces modules to what they do: esbuild parses and prints them. Comments,
 * types, white space, quotes and number formats disappear; names, order and
 * statements, used or not, stay.
 *
 * @returns By specifier.
 * @throws {Error} If a module does not parse, or computes which file it imports.
 */
export async function reduceModules(
  modules: readonly Module[],
  options: EmitOptions,
): Promise<Map<string, Reduced>> {
  const reduced = await Promise.all(modules.map(async (module) => {
    const { code } = await reduceText(module, options);
    const imports = await remainingImports(code, module);
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

/** Matches esbuild's complaint about an import of several files. */
const PATTERN = /Could not resolve \w+\("(.*)"\)/;

/** Id of esbuild's warning that it does not count an import, since its options are computed. */
const UNCOUNTED = "unsupported-dynamic-import";

async function remainingImports(
  code: string,
  { path, imports: all }: Module,
): Promise<string[]> {
  const esbuild = await import("esbuild");
  const imports = new Set<string>();
  const built = esbuild.build({
    stdin: { contents: code, loader: "js" },
    // For a browser, the default, code behind `process.env.NODE_ENV` would be dead.
    platform: "neutral",
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
  try {
    const { warnings } = await built;
    if (warnings.some(({ id }) => id === UNCOUNTED)) {
      for (const name of all.keys()) imports.add(name);
    }
  } catch (error) {
    // esbuild looks for the files itself if a part of a relative path is computed.
    const [, pattern] = PATTERN.exec((error as Error).message) ?? [];
    if (pattern === undefined) throw error;
    throw new Error(
      `Cannot resolve the import of "${pattern}" in "${path}"; import a literal specifier`,
      { cause: error },
    );
  }
  return [...imports].sort();
}
