import type {
  BuildFailure,
  ImportKind,
  OnLoadResult,
  OnResolveArgs,
  OnResolveResult,
  Plugin,
  PluginBuild,
} from "esbuild";
import type { SourceMapping } from "node:module";
import { digest } from "../files/digest.ts";
import { fingerprint } from "../files/fingerprints.ts";
import {
  basename,
  dirname,
  fromFileUrl,
  join,
  relative,
} from "../files/paths.ts";
import {
  compiled,
  type Module,
  type ModuleGraph,
  moduleGraph,
} from "./module_graph.ts";

/** The code of a stage as one file: its task, `child.ts`, and all that they import. */
export interface Bundle {
  readonly text: string;
  /** Files that it was made from, with the SHA-256 of what was read; empty if there is none. Packages count by the lock file, linked ones by their files. */
  readonly files: readonly (readonly [path: string, raw: string])[];
  /** Source map as JSON, if requested. */
  readonly map?: string;
}

/** The module that runs a task in its stage's process. */
export const CHILD = new URL("./child.ts", import.meta.url).href;

/** Name of {@linkcode CHILD} in a bundle. */
const CHILD_NAME = "scheduler:child.ts";

/**
 * Namespaces of esbuild: ES modules and CommonJS modules as Deno resolves them,
 * entries of packages (see {@linkcode Modules}), and files of packages.
 */
const CODE = "code";
const COMMONJS = "commonjs";
const PACKAGE_ENTRY = "package";
const PACKAGE = "file";

/**
 * Ends of the paths in the first two, by which esbuild knows the kind of a
 * module: what a default import of CommonJS is, and that a module without
 * imports and exports is one. Both are of four characters.
 */
const ENDS = { [CODE]: ".mjs", [COMMONJS]: ".cjs" } as const;

/** Matches the namespaces of {@linkcode ENDS} and a name in them, which is the group. */
const NAMED = `(?:${CODE}|${COMMONJS}):(.+)\\.[cm]js`;

/** Start of the name of a module that runs a task. */
const ENTRY = "entry:";

/**
 * Names that only CommonJS has, and what they become in ES modules: names that
 * nothing has. A bundle has them for its packages.
 */
const NOT_IN_MODULES = Object.fromEntries(
  ["require", "__filename", "__dirname"].map((it) => [it, `${it}_of_CommonJS`]),
);

/**
 * Bundles tasks. Deno resolves the imports and compiles TypeScript, as in
 * `deno run`, and esbuild makes one file of what they lead to. Only what packages
 * import is resolved by esbuild, by the rules of Node.js. The text does not
 * depend on the location of the project, nor on comments, formatting, types and
 * unused functions.
 *
 * @param tasks `file:` URLs of task modules in one folder.
 * @param project Folder of `deno.json`.
 * @param maps True if source maps are wanted.
 * @throws {Error} If a module is missing or does not parse.
 */
export function bundleTasks(
  tasks: readonly string[],
  project: string,
  maps = false,
): Promise<Map<string, Bundle>> {
  const result = turn.then(() => bundle(tasks, project, maps));
  turn = result.catch(() => {});
  return result;
}

/** End of the last call of {@linkcode bundleTasks}. Calls take turns, since each ends the process of esbuild, which would keep up to 1 GB. */
let turn: Promise<unknown> = Promise.resolve();

async function bundle(
  tasks: readonly string[],
  project: string,
  maps: boolean,
): Promise<Map<string, Bundle>> {
  const graph = await moduleGraph([...tasks, CHILD], project);
  const folder = dirname(fromFileUrl(tasks[0]!));
  const modules = new Modules(graph, project, folder, maps);
  await modules.compile();
  const esbuild = await import("esbuild");
  const { builtinModules } = await import("node:module");
  const built = await esbuild.build({
    entryPoints: tasks.map((task, i) => ({
      in: ENTRY + modules.nameOf(task),
      out: `${i}`,
    })),
    outdir: "/",
    write: false,
    bundle: true,
    keepNames: true,
    format: "esm",
    platform: "node",
    conditions: ["deno", "module-sync"],
    mainFields: ["main"],
    resolveExtensions: [".js", ".json", ".node"],
    define: {
      // Modules in CommonJS read them, although nothing lies beside the bundle.
      __dirname: '"/"',
      __filename: '"/bundle.js"',
      // Of the modules in the bundle, none is the one that Deno was started with.
      "import.meta.main": "false",
    },
    target: "esnext",
    charset: "utf8",
    legalComments: "none",
    logLevel: "silent",
    absWorkingDir: project,
    tsconfigRaw: {},
    plugins: [modules.plugin(builtinModules)],
    ...(maps && { sourcemap: "external", sourcesContent: false }),
  }).finally(() => esbuild.stop()).catch(async (error: BuildFailure) => {
    // Only with maps is the place that of the source file.
    if (!maps && error.errors?.[0]?.location) {
      await bundle(tasks, project, true);
    }
    throw new Error(await modules.messageOf(error), { cause: error });
  });
  const outputs = new Map(built.outputFiles.map((it) => [it.path, it.text]));
  return new Map(
    await Promise.all(tasks.map(async (task, i) => {
      const text = withAwaitedExports(outputs.get(`/${i}.js`)!);
      const map = outputs.get(`/${i}.js.map`);
      // Packages in CommonJS require built-in modules, which a module cannot do by itself.
      const head = REQUIRES.test(text) ? REQUIRE : "";
      const files = [...graph.files, ...await modules.filesBehind(task)];
      return [task, {
        text: head + text,
        files,
        ...(map !== undefined && {
          map: head === "" ? map : map.replace(/"mappings": "/, "$&;"),
        }),
      }] as const;
    })),
  );
}

/** Matches esbuild's form of `require()` of a module that is not in the bundle. */
const REQUIRES = /\b__require\d*\("/;
const REQUIRE =
  'import { createRequire } from "node:module"; const require = createRequire("file:///");\n';

/** Matches esbuild's comment before the code of each module. */
const HEADER = new RegExp(
  `^// (?:${NAMED}|.*node_modules/\\.deno/([^/]+)/.*)$`,
);

/**
 * A bundle that waits, at `export * from` a module with a top-level await, for
 * that module. esbuild calls the function that evaluates it and does not wait
 * where the exporting module is evaluated when it is imported
 * (`import("./a.ts")`), so that its importer would find undefined.
 */
function withAwaitedExports(bundle: string): string {
  const evaluations = new Set(
    bundle.matchAll(ASYNC_EVALUATION).map(([, name]) => name),
  );
  if (evaluations.size === 0) return bundle;
  return bundle.replaceAll(
    EVALUATION,
    (line, indent = "", name) =>
      evaluations.has(name) ? `${indent}await ${name}();` : line,
  );
}

/**
 * Matches esbuild's function that evaluates a module with a top-level await;
 * the group is its name.
 */
const ASYNC_EVALUATION = /^var (init_[\w$]+) = __esm\(\{\n {2}async "/gm;

/** Matches a statement of esbuild that evaluates a module. */
const EVALUATION = /^( {4})?(init_[\w$]+)\(\);$/gm;

/** Sections of a bundle, in order. A package has one for each of its modules. */
export function sectionsOf(bundle: string) {
  const sections: {
    /** Path relative to the project, or the package: `zod@4.6.7`. */
    readonly module: string;
    /** Its first line in the bundle, from 0. */
    readonly start: number;
    readonly lines: readonly string[];
  }[] = [];
  let lines: string[] = [];
  bundle.split("\n").forEach((line, i) => {
    const [, module, folder] = HEADER.exec(line) ?? [];
    const name = module ?? folder?.replace("+", "/");
    if (name === undefined) lines.push(line);
    else {
      lines = [];
      sections.push({ module: name, start: i + 1, lines });
    }
  });
  return sections;
}

/** Finds the place in a source file of a place in a bundle with a source map, both from 0; undefined if it has none. */
export async function placesOf({ map }: Bundle) {
  const { SourceMap } = await import("node:module");
  const source = new SourceMap(JSON.parse(map!));
  return (line: number, column: number) => {
    const entry = source.findEntry(line, column);
    return "originalLine" in entry ? entry : undefined;
  };
}

/**
 * A stack trace with the places of the source files for those in a bundle,
 * which is made again, with a source map. Returned unchanged if the rebuilt
 * bundle differs.
 *
 * @param path Path of the bundle.
 * @param task URL of the task's module.
 */
export async function locateTrace(
  trace: string,
  path: string,
  task: string,
  project: string,
): Promise<string> {
  const place = new RegExp(`file://\\S*${basename(path)}:(\\d+):(\\d+)`, "g");
  if (!place.test(trace)) return trace;
  const made = await bundleTasks([task], project, true)
    .catch(() => undefined); // The files have been edited since.
  const bundle = made?.get(task);
  if (bundle?.text !== Deno.readTextFileSync(path)) return trace;
  const placeOf = await placesOf(bundle);
  return trace.replaceAll(place, (all, line, column) => {
    const found = placeOf(Number(line) - 1, Number(column) - 1);
    if (found === undefined) return all;
    const { originalSource, originalLine, originalColumn } = found;
    const at = [originalLine + 1, originalColumn + 1].join(":");
    return `file:///${originalSource.replace(/^\//, "")}:${at}`;
  });
}

/** Start of a source map at the end of a module. */
const MAP = "//# sourceMappingURL=data:application/json;base64,";

type Bytes = Uint8Array<ArrayBuffer>;

/** Matches the specifier of a package; the group is its name. */
const SPECIFIER = /^npm:\/?((?:@[^/]+\/)?[^@/]+)@[^/]+/;

/** Modules as Deno has resolved and compiled them, as a plugin of esbuild. */
class Modules {
  /** By {@linkcode nameOf}. */
  readonly #modules: ReadonlyMap<string, Module>;
  #compiled: ReadonlyMap<Module, string> = new Map();
  /** Those in CommonJS. */
  readonly #commonJs = new Set<Module>();
  /** What esbuild gets of them, with source maps, if these are wanted. */
  readonly #code = new Map<string, string>();
  /** Files of linked packages that were read. */
  readonly #linked = new Set<string>();
  /** Contents and digests of the user's files that were read, by path. */
  readonly #read = new Map<string, readonly [Bytes, raw: Promise<string>]>();

  /** @param tasks Folder of the tasks. */
  constructor(
    private readonly graph: ModuleGraph,
    private readonly project: string,
    private readonly tasks: string,
    private readonly maps: boolean,
  ) {
    this.#modules = new Map(
      graph.modules.values().map((it) => [this.nameOf(it.specifier), it]),
    );
  }

  /** Lets Deno compile TypeScript and JSX, and finds the modules in CommonJS. */
  async compile(): Promise<void> {
    this.#compiled = await compiled(
      this.graph.modules.values(),
      ({ local }) => this.#contentOf(local!),
      this.graph.compilerOptions,
      this.maps,
    );
    const types = new Map<string, unknown>();
    for (const module of this.graph.modules.values()) {
      const { specifier, mediaType = "", local } = module;
      if (local === undefined || !specifier.startsWith("file:")) continue;
      if (/^C[jt]s$/.test(mediaType)) this.#commonJs.add(module);
      if (!/^(TypeScript|JavaScript|TSX|JSX)$/.test(mediaType)) continue;
      const folder = dirname(local);
      const type = types.getOrInsertComputed(
        folder,
        () => packageTypeOf(local),
      );
      if (type !== "commonjs") continue;
      const code = this.#codeOf(module, this.#contentOf(local));
      if (await isScript(code)) this.#commonJs.add(module);
    }
  }

  #codeOf(module: Module, contents: Bytes): string {
    return this.#compiled.get(module) ?? new TextDecoder().decode(contents);
  }

  /**
   * Name of a module in a bundle, independent of the location of the project:
   * its path relative to the project; for a file outside, relative to the folder
   * of the task; for other modules, the specifier.
   */
  nameOf(specifier: string): string {
    if (specifier === CHILD) return CHILD_NAME;
    if (!specifier.startsWith("file:")) return specifier;
    const path = fromFileUrl(specifier);
    const below = relative(this.project, path);
    const { search, hash } = new URL(specifier);
    return (below.startsWith("../")
      ? `task:${relative(this.tasks, path)}`
      : below) + search + hash;
  }

  /** Files of the user: modules that a task imports, directly or not, and what was read of linked packages. */
  async filesBehind(
    task: string,
  ): Promise<(readonly [path: string, raw: string])[]> {
    const found = new Set([task, CHILD]);
    const files = new Set(this.#linked);
    for (const specifier of found) {
      const module = this.graph.modules.get(this.#redirected(specifier));
      if (module?.local !== undefined) files.add(module.local);
      for (const { code } of module?.dependencies ?? []) {
        if (code?.specifier !== undefined) found.add(code.specifier);
      }
    }
    return await Promise.all([...files].map(async (path) => {
      this.#contentOf(path);
      return [path, await this.#read.get(path)![1]] as const;
    }));
  }

  plugin(builtins: readonly string[]): Plugin {
    return {
      name: "deno",
      setup: (build) => {
        // Packages may name them without their prefix.
        build.onResolve(
          {
            filter: new RegExp(`^(node:.*|${builtins.join("|")})$`),
            namespace: PACKAGE,
          },
          ({ path }) => ({
            path: path.startsWith("node:") ? path : `node:${path}`,
            external: true,
          }),
        );
        build.onResolve(
          { filter: new RegExp(`^${ENTRY}`) },
          ({ path }) => ({ path: path + ENDS[CODE], namespace: CODE }),
        );
        for (const namespace of [CODE, COMMONJS] as const) {
          build.onResolve(
            { filter: /.*/, namespace },
            (args) =>
              args.importer.startsWith(ENTRY)
                ? this.#placed(args.path, args.kind)
                : this.#resolve(args, build),
          );
          build.onLoad(
            { filter: /.*/, namespace },
            ({ path, with: { type } }) =>
              path.startsWith(ENTRY)
                ? { contents: runOf(path.slice(ENTRY.length, -4)) }
                : this.#load(path.slice(0, -4), namespace, type),
          );
        }
        build.onLoad(
          { filter: /.*/, namespace: PACKAGE_ENTRY },
          ({ pluginData }) => entryCode(pluginData, build),
        );
        build.onLoad(
          { filter: /\.json$/, namespace: PACKAGE },
          ({ path, with: { type } }) => {
            if (type !== "json") return undefined;
            const file = this.#linkedFile(path);
            const contents = file === undefined
              ? Deno.readFileSync(path)
              : this.#contentOf(file);
            return { contents: jsonCode(contents, path) };
          },
        );
        if (this.graph.linked.size === 0) return;
        build.onLoad(
          { filter: /.*/, namespace: PACKAGE },
          ({ path }) => this.#loadLinked(path),
        );
      },
    };
  }

  /** Where an import of a module of the user leads. */
  async #resolve(
    { path, importer, kind, with: { type } }: OnResolveArgs,
    build: PluginBuild,
  ): Promise<OnResolveResult> {
    const target = this.#targetOf(path, importer.slice(0, -4));
    if (target.startsWith("node:")) return { path: target, external: true };
    const { npmPackage, local = "" } = this.graph.modules.get(target) ?? {};
    const isInstalled = target.startsWith("file:") && type === undefined &&
      INSTALLED.test(local);
    if (npmPackage === undefined && !isInstalled) {
      return this.#placed(this.nameOf(target), kind);
    }
    const folder = npmPackage === undefined
      ? this.project
      : this.graph.npmPackages[npmPackage]!.localPath;
    const found = await build.resolve(
      npmPackage === undefined ? local : target.replace(SPECIFIER, "$1"),
      { kind, resolveDir: folder },
    );
    // A plugin cannot say so of a file: let esbuild find it again.
    const isUntold = kind !== "require-call" && /\.jsx?$/.test(found.path) &&
      found.namespace === PACKAGE && packageTypeOf(found.path) === "module";
    if (!isUntold) return found;
    return {
      path: `${npmPackage ?? ""}/${relative(folder, found.path)}`,
      namespace: PACKAGE_ENTRY,
      sideEffects: found.sideEffects,
      pluginData: found.path,
    };
  }

  /** Path and namespace of a module of the user by its name. */
  #placed(name: string, kind: ImportKind): OnResolveResult {
    const module = this.#modules.get(name)!;
    const isCommonJs = this.#commonJs.has(module) ||
      module.mediaType === "Json" && kind === "require-call";
    const namespace = isCommonJs ? COMMONJS : CODE;
    return { path: name + ENDS[namespace], namespace };
  }

  /** The module that a specifier leads to. */
  #targetOf(name: string, importer: string): string {
    const from = this.#modules.get(importer)!;
    const { code } =
      from.dependencies?.find(({ specifier }) => specifier === name) ?? {};
    if (code?.specifier !== undefined) return this.#redirected(code.specifier);
    const why = code?.error === undefined
      ? "; import a literal specifier"
      : `: ${code.error}`;
    throw new Error(
      `Cannot resolve the import of "${name}" in "${from.local}"${why}`,
    );
  }

  #redirected(specifier: string): string {
    const next = this.graph.redirects[specifier];
    return next === undefined ? specifier : this.#redirected(next);
  }

  async #load(
    name: string,
    namespace: typeof CODE | typeof COMMONJS,
    type: string | undefined,
  ): Promise<OnLoadResult> {
    const module = this.#modules.get(name)!;
    const { specifier, kind, mediaType, local, error } = module;
    if (local === undefined) {
      throw new Error(
        error ?? `A stage cannot import "${name}"; write it to a file`,
      );
    }
    const file = this.#contentOf(local);
    const contents = /^https?:/.test(specifier) ? withoutMetadata(file) : file;
    if (type === "text") return { contents, loader: "text" };
    if (type === "bytes") return { contents, loader: "binary" };
    if (mediaType === "Json") {
      if (namespace === COMMONJS) return { contents, loader: "json" };
      return { contents: jsonCode(contents, name) };
    }
    const code = kind === "wasm"
      ? wasmCode(contents)
      : this.#codeOf(module, contents);
    const names = namespace === CODE ? NOT_IN_MODULES : {};
    const made = await withoutComments(code, local, this.maps, names);
    if (this.maps) this.#code.set(name, made);
    return { contents: made };
  }

  /** A file of a package, if that is linked: the user's, and not Deno's copy. */
  async #loadLinked(path: string): Promise<OnLoadResult | undefined> {
    const file = this.#linkedFile(path);
    if (file === undefined) return undefined;
    const contents = this.#contentOf(file);
    if (!/\.[cm]?js$/.test(file)) return { contents, loader: "default" };
    const code = new TextDecoder().decode(contents);
    return { contents: await withoutComments(code, file, this.maps) };
  }

  /**
   * The user's file for a file of a package, which the bundle then depends on;
   * undefined if the package is not linked.
   */
  #linkedFile(path: string): string | undefined {
    for (const [folder, link] of this.graph.linked) {
      if (!path.startsWith(`${folder}/`)) continue;
      const file = link + path.slice(folder.length);
      this.#linked.add(file);
      const description = packageFileOf(file);
      if (description !== undefined) this.#linked.add(description);
      return file;
    }
    return undefined;
  }

  /** The first message of a failed build, with its place. */
  async messageOf({ message, errors }: BuildFailure): Promise<string> {
    const { text, location } = errors?.[0] ?? { text: message };
    const named = text.replaceAll(new RegExp(`"${NAMED}"`, "g"), '"$1"');
    if (!location) return named;
    const { file, line, column } = location;
    const name = new RegExp(`^${NAMED}$`).exec(file)?.[1];
    if (name?.startsWith(ENTRY)) return named;
    const map = this.#code.get(name ?? "")?.split(MAP)[1];
    if (map === undefined) {
      return `${name ?? file}:${line}:${column + 1}: ${named}`;
    }
    const { SourceMap } = await import("node:module");
    const json = new TextDecoder().decode(Uint8Array.fromBase64(map.trim()));
    const { originalLine, originalColumn } = new SourceMap(JSON.parse(json))
      .findEntry(line - 1, column) as SourceMapping;
    return `${name}:${originalLine + 1}:${originalColumn + 1}: ${named}`;
  }

  #contentOf(path: string): Bytes {
    const [contents] = this.#read.getOrInsertComputed(path, () => {
      const contents = Deno.readFileSync(path);
      return [contents, digest(contents)];
    });
    return contents;
  }
}

/** The module that runs a task, by the name of the task's module. */
function runOf(task: string): string {
  return `import { perform } from ${JSON.stringify(CHILD_NAME)};
import task from ${JSON.stringify(task)};
await perform(task);`;
}

/** Matches the path of a file of a package. */
const INSTALLED = /\/node_modules\//;

/** The `package.json` next above a file. */
function packageFileOf(path: string): string | undefined {
  for (let folder = dirname(path);; folder = dirname(folder)) {
    const file = join(folder, "package.json");
    if (fingerprint(file) !== undefined) return file;
    if (folder === dirname(folder)) return undefined;
  }
}

/** The `type` of the `package.json` next above a file. */
function packageTypeOf(path: string): unknown {
  const file = packageFileOf(path);
  return file && JSON.parse(Deno.readTextFileSync(file)).type;
}

/** True for JavaScript without imports and exports. */
async function isScript(code: string): Promise<boolean> {
  const esbuild = await import("esbuild");
  const { metafile } = await esbuild.build({
    stdin: { contents: code, loader: "js" },
    bundle: true,
    write: false,
    metafile: true,
    packages: "external",
    external: ["*"],
    format: "esm",
    outdir: "/",
    logLevel: "silent",
  });
  return Object.values(metafile.inputs)[0]?.format !== "esm";
}

/** A module that exports what an ES module of a package does, which esbuild resolves by itself. */
async function entryCode(
  path: string,
  { esbuild }: PluginBuild,
): Promise<OnLoadResult> {
  const { metafile } = await esbuild.build({
    entryPoints: [path],
    bundle: false,
    write: false,
    metafile: true,
    outdir: "/",
    logLevel: "silent",
  });
  const [output] = Object.values(metafile.outputs);
  const from = JSON.stringify(path);
  // "export *" leaves the default export out.
  const contents = output!.exports.includes("default")
    ? `export * from ${from}; export { default } from ${from};`
    : `export * from ${from};`;
  return { contents, resolveDir: dirname(path) };
}

/** JSON as a module with a default export alone. */
function jsonCode(contents: Bytes, name: string): string {
  const text = new TextDecoder().decode(contents);
  try {
    // As text, since a property `__proto__` is none in an object literal.
    const value = JSON.stringify(JSON.stringify(JSON.parse(text)));
    return `export default /* @__PURE__ */ JSON.parse(${value});`;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new Error(`"${name}" is not valid JSON: ${error.message}`);
  }
}

/** A file of Deno's cache as the server has sent it: Deno may add a line. */
function withoutMetadata(file: Bytes): Bytes {
  // As Latin-1, each character is a byte.
  const text = new TextDecoder("latin1").decode(file);
  const end = text.lastIndexOf("\n// denoCacheMetadata=");
  return end < 0 ? file : file.subarray(0, end);
}

/** A WebAssembly module as JavaScript that imports and exports the same. */
function wasmCode(bytes: Bytes): string {
  const module = new WebAssembly.Module(bytes);
  const from = [
    ...new Set(WebAssembly.Module.imports(module).map(({ module }) => module)),
  ].map((name) => JSON.stringify(name));
  return [
    ...from.map((name, i) => `import * as m${i} from ${name};`),
    `const bytes = Uint8Array.fromBase64("${bytes.toBase64()}");`,
    "const module = new WebAssembly.Module(bytes);",
    `const imports = { ${from.map((name, i) => `${name}: m${i}`)} };`,
    "const { exports } = new WebAssembly.Instance(module, imports);",
    ...WebAssembly.Module.exports(module).map(({ name }, i) => {
      const quoted = JSON.stringify(name);
      return `const e${i} = exports[${quoted}]; export { e${i} as ${quoted} };`;
    }),
  ].join("\n");
}

/**
 * JavaScript without comments, which esbuild otherwise keeps within expressions.
 *
 * @param maps True to add a source map, from that in the code if it has one.
 * @param define Names that the code does not declare, and what takes their place.
 */
export async function withoutComments(
  code: string,
  path: string,
  maps = false,
  define: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { transform } = await import("esbuild");
  const made = await transform(code, {
    define,
    minifyWhitespace: true,
    legalComments: "none",
    target: "esnext",
    charset: "utf8",
    logLevel: "silent",
    sourcefile: path,
    ...(maps && { sourcemap: "inline", sourcesContent: false }),
  });
  return made.code;
}
