/** What esbuild is told: where imports lead, and which code a module has. */
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
import { dirname, fromFileUrl, join, relative } from "../files/paths.ts";
import {
  type Bytes,
  entryCode,
  isScript,
  jsonCode,
  wasmCode,
  withoutComments,
  withoutMetadata,
} from "./module_code.ts";
import { compiled, type Module, type ModuleGraph } from "./module_graph.ts";

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

/**
 * Matches a module in a message or comment of esbuild: namespace, name (the
 * group) and end.
 */
export const NAMED = `(?:${CODE}|${COMMONJS}):(.+)\\.[cm]js`;

/** Start of the name of a module that runs a task. */
export const ENTRY = "entry:";

/**
 * Names that only CommonJS has, and what they become in ES modules: names that
 * nothing has. A bundle has them for its packages.
 */
const NOT_IN_MODULES = Object.fromEntries(
  ["require", "__filename", "__dirname"].map((it) => [it, `${it}_of_CommonJS`]),
);

/** Start of a source map at the end of a module. */
const MAP = "//# sourceMappingURL=data:application/json;base64,";

/** Matches the specifier of a package; the group is its name. */
const SPECIFIER = /^npm:\/?((?:@[^/]+\/)?[^@/]+)@[^/]+/;

/** Modules as Deno has resolved and compiled them, as a plugin of esbuild. */
export class Modules {
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

  /**
   * Lets Deno compile TypeScript and JSX, and finds the modules in CommonJS.
   */
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
   * its path relative to the project; for a file outside, relative to the
   * folder of the task; for other modules, the specifier.
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

  /**
   * Files of the user, with their SHA-256: modules that a task imports,
   * directly or not, and what was read of linked packages.
   */
  async filesBehind(
    task: string,
  ): Promise<(readonly [path: string, raw: string])[]> {
    const specifiers = new Set([task, CHILD]);
    const files = new Set(this.#linked);
    // A set visits what is added to it on the way.
    for (const specifier of specifiers) {
      const module = this.graph.modules.get(this.#redirected(specifier));
      if (module?.local !== undefined) files.add(module.local);
      for (const { code } of module?.dependencies ?? []) {
        if (code?.specifier !== undefined) specifiers.add(code.specifier);
      }
    }
    return await Promise.all([...files].map(async (path) => {
      this.#contentOf(path);
      return [path, await this.#read.get(path)![1]] as const;
    }));
  }

  /** @param builtins Names of Node.js's built-in modules, without `node:`. */
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
                ? this.#pathOf(args.path, args.kind)
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
      return this.#pathOf(this.nameOf(target), kind);
    }
    const folder = npmPackage === undefined
      ? this.project
      : this.graph.npmPackages[npmPackage]!.localPath;
    const resolved = await build.resolve(
      npmPackage === undefined ? local : target.replace(SPECIFIER, "$1"),
      { kind, resolveDir: folder },
    );
    // esbuild reads the package's `type` only for files that it resolves
    // itself, so entryCode() imports the file once more.
    const isModuleByType = kind !== "require-call" &&
      /\.jsx?$/.test(resolved.path) && resolved.namespace === PACKAGE &&
      packageTypeOf(resolved.path) === "module";
    if (!isModuleByType) return resolved;
    return {
      path: `${npmPackage ?? ""}/${relative(folder, resolved.path)}`,
      namespace: PACKAGE_ENTRY,
      sideEffects: resolved.sideEffects,
      pluginData: resolved.path,
    };
  }

  /** Path and namespace of a module of the user by its name. */
  #pathOf(name: string, kind: ImportKind): OnResolveResult {
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
    const bare = await withoutComments(code, local, this.maps, names);
    if (this.maps) this.#code.set(name, bare);
    return { contents: bare };
  }

  /**
   * Loads a file of a linked package from the user's folder; undefined if the
   * package is not linked.
   */
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

  /** The first message of a failed build, with its position. */
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
