import type { Loader, OnLoadResult, Plugin } from "esbuild";
import { digest } from "../files/digest.ts";
import { basename, dirname, fromFileUrl, relative } from "../files/paths.ts";
import {
  type ModuleGraph,
  moduleGraph,
  type Tsconfig,
} from "./module_graph.ts";

/** The code of a stage as one file: its task, `child.ts`, and all that they import. */
export interface Bundle {
  readonly text: string;
  /** Files of the project that it was made from, with the SHA-256 of what was read; empty if there is none. Packages count by the lock file. */
  readonly files: readonly (readonly [path: string, raw: string])[];
  /** Source map as JSON, if requested. */
  readonly map?: string;
}

/** The module that runs a task in its stage's process. */
export const CHILD = new URL("./child.ts", import.meta.url).href;

/** Namespaces of esbuild: generated entries, and modules as Deno resolves them. Packages have the default one. */
const ENTRY = "entry";
const CODE = "code";

/** End of the last call of {@linkcode bundleTasks}. Calls take turns, since each ends the process of esbuild, which all share. */
let turn: Promise<unknown> = Promise.resolve();

/**
 * Bundles tasks. Deno resolves the imports (import map, npm by the lock file,
 * JSR and https from its cache), and esbuild makes one file of what they lead
 * to. The text does not depend on the location of the project, nor on comments,
 * formatting, types and unused functions.
 *
 * @param tasks `file:` URLs of task modules in one folder.
 * @param project Folder of `deno.json`.
 * @param maps True if source maps are wanted.
 * @throws {Error} If a module is missing or does not parse.
 */
export function bundleTasks(
  tasks: readonly string[],
  project: string,
  { maps = false } = {},
): Promise<Map<string, Bundle>> {
  const result = turn.then(() => bundle(tasks, project, maps));
  turn = result.catch(() => {});
  return result;
}

async function bundle(
  tasks: readonly string[],
  project: string,
  maps: boolean,
): Promise<Map<string, Bundle>> {
  const graph = await moduleGraph([...tasks, CHILD], project);
  const modules = new Modules(graph, project, dirname(fromFileUrl(tasks[0]!)));
  const esbuild = await import("esbuild");
  const { builtinModules } = await import("node:module");
  const built = await esbuild.build({
    entryPoints: tasks.map((task, i) => ({
      in: `${ENTRY}:${modules.nameOf(task)}`,
      out: `${i}`,
    })),
    outdir: "/",
    write: false,
    metafile: true,
    bundle: true,
    format: "esm",
    platform: "node",
    conditions: ["deno"],
    // Packages in CommonJS read it, although nothing lies beside the bundle.
    define: { __dirname: '"/"' },
    target: "esnext",
    charset: "utf8",
    legalComments: "none",
    logLevel: "silent",
    absWorkingDir: project,
    tsconfigRaw: graph.tsconfig,
    plugins: [modules.plugin(builtinModules, maps)],
    ...(maps && { sourcemap: "external", sourcesContent: false }),
  }).catch((error) => {
    throw new Error(messageOf(error), { cause: error });
  }).finally(() => esbuild.stop());
  const outputs = new Map(built.outputFiles.map((it) => [it.path, it.text]));
  return new Map(tasks.map((task, i) => {
    const text = outputs.get(`/${i}.js`)!;
    const map = outputs.get(`/${i}.js.map`);
    // Packages in CommonJS require built-in modules, which a module cannot do by itself.
    const head = REQUIRES.test(text) ? REQUIRE : "";
    const entry = `${ENTRY}:${modules.nameOf(task)}`;
    return [task, {
      text: head + text,
      files: [
        ...graph.files,
        ...modules.filesBehind(entry, built.metafile.inputs),
      ],
      ...(map !== undefined && {
        map: head === "" ? map : map.replace(/"mappings": "/, "$&;"),
      }),
    }];
  }));
}

/** Matches esbuild's form of `require()` of a module that is not in the bundle. */
const REQUIRES = /\b__require\d*\("/;
const REQUIRE =
  'import { createRequire } from "node:module"; const require = createRequire("file:///");\n';

/** The part of a bundle that comes from one module. */
interface Section {
  /** Path relative to the project, or the package: `zod@4.6.7`. */
  readonly module: string;
  /** Its first line in the bundle, from 0. */
  readonly start: number;
  readonly lines: readonly string[];
}

/** Matches esbuild's comment before the code of each module. */
const HEADER =
  /^\/\/ (?:code:(.+)|(entry:.+)|.*node_modules\/\.deno\/([^/]+)\/.*)$/;

/** True if a section is of a package, whose name has a version: `zod@4.6.7`. */
export function isPackage(module: string): boolean {
  return /.@\d/.test(module);
}

/** Sections of a bundle, in order. A package has one for each of its modules. */
export function sectionsOf(bundle: string): Section[] {
  const sections: Section[] = [];
  let lines: string[] = [];
  bundle.split("\n").forEach((line, i) => {
    const [, module, entry, folder] = HEADER.exec(line) ?? [];
    const name = module ?? entry ?? folder?.replace("+", "/");
    if (name === undefined) lines.push(line);
    else {
      lines = [];
      sections.push({ module: name, start: i + 1, lines });
    }
  });
  return sections;
}

/** Maps lines of a bundle, from 0, to lines of the source files, from 1. */
export async function sourceLines(
  { text, map }: Bundle,
): Promise<(line: number) => number> {
  const { SourceMap } = await import("node:module");
  const source = new SourceMap(JSON.parse(map!));
  const lines = text.split("\n");
  return (line) => {
    const indent = /^ */.exec(lines[line] ?? "")![0].length;
    const entry = source.findEntry(line, indent);
    return "originalLine" in entry ? entry.originalLine + 1 : line + 1;
  };
}

/**
 * A stack trace with the places of the source files for those in a bundle,
 * which is made again, with a source map. Unchanged if it would be another now.
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
  const made = await bundleTasks([task], project, { maps: true })
    .catch(() => undefined); // The files have been edited since.
  const { text, map } = made?.get(task) ?? {};
  if (text !== Deno.readTextFileSync(path)) return trace;
  const { SourceMap } = await import("node:module");
  const source = new SourceMap(JSON.parse(map!));
  return trace.replaceAll(place, (all, line, column) => {
    const entry = source.findEntry(Number(line) - 1, Number(column) - 1);
    if (!("originalLine" in entry)) return all;
    const { originalSource, originalLine, originalColumn } = entry;
    return `file:///${originalSource.replace(/^\//, "")}:${originalLine + 1}:${
      originalColumn + 1
    }`;
  });
}

/** Modules of `deno info`, as a plugin of esbuild. */
class Modules {
  readonly #graph: ModuleGraph;
  readonly #project: string;
  readonly #tasks: string;
  /** Specifiers by {@linkcode nameOf}. */
  readonly #specifiers = new Map<string, string>();
  /** Path and digest of each module that was read, by name. */
  readonly #read = new Map<string, readonly [path: string, raw: string]>();

  constructor(graph: ModuleGraph, project: string, tasks: string) {
    this.#graph = graph;
    this.#project = project;
    this.#tasks = tasks;
    for (const name of graph.modules.keys()) {
      this.#specifiers.set(this.nameOf(name), name);
    }
  }

  /**
   * Name of a module in a bundle, independent of the location of the project:
   * its path relative to the project; for a file outside, relative to the folder
   * of the task; for other modules, the specifier.
   */
  nameOf(specifier: string): string {
    if (specifier === CHILD) return "child.ts";
    if (!specifier.startsWith("file:")) return specifier;
    const path = fromFileUrl(specifier);
    const below = relative(this.#project, path);
    return below.startsWith("../")
      ? `task:${relative(this.#tasks, path)}`
      : below;
  }

  /** Files of all modules that an entry imports, directly or not. */
  filesBehind(
    entry: string,
    inputs: Readonly<
      Record<string, { readonly imports: readonly { readonly path: string }[] }>
    >,
  ): (readonly [path: string, raw: string])[] {
    const found = new Set([entry]);
    for (const name of found) {
      for (const { path } of inputs[name]?.imports ?? []) found.add(path);
    }
    return [...found].flatMap((name) => {
      const read = this.#read.get(name.replace(`${CODE}:`, ""));
      return read === undefined ? [] : [read];
    });
  }

  plugin(builtins: readonly string[], maps: boolean): Plugin {
    return {
      name: "deno",
      setup: (build) => {
        // Packages may name them without their prefix.
        build.onResolve(
          { filter: new RegExp(`^(node:.*|${builtins.join("|")})$`) },
          ({ path }) => ({
            path: path.startsWith("node:") ? path : `node:${path}`,
            external: true,
          }),
        );
        build.onResolve({ filter: /^entry:/ }, ({ path }) => ({
          path: path.slice(ENTRY.length + 1),
          namespace: ENTRY,
        }));
        build.onLoad({ filter: /.*/, namespace: ENTRY }, ({ path }) => ({
          contents: `import { perform } from "child.ts";
import task from ${JSON.stringify(path)};
await perform(task);`,
        }));
        build.onResolve(
          { filter: /.*/, namespace: ENTRY },
          ({ path }) => ({ path, namespace: CODE }),
        );
        build.onResolve(
          { filter: /.*/, namespace: CODE },
          async ({ path, importer, kind }) => {
            const { target, within } = this.#resolve(path, importer);
            return within === undefined
              ? { path: this.nameOf(target), namespace: CODE }
              : await build.resolve(target, { kind, resolveDir: within });
          },
        );
        build.onLoad(
          { filter: /.*/, namespace: CODE },
          ({ path, with: { type } }) => this.#load(path, type, maps),
        );
      },
    };
  }

  /** The module that a specifier leads to; for a package, its name and the folder in which esbuild finds it. */
  #resolve(
    name: string,
    importer: string,
  ): { readonly target: string; readonly within?: string } {
    const { modules, redirects, npmPackages } = this.#graph;
    const from = modules.get(this.#specifiers.get(importer)!)!;
    const found = from.dependencies?.find(({ specifier }) => specifier === name)
      ?.code;
    if (found?.specifier === undefined) {
      throw new Error(
        `Cannot resolve the import of "${name}" in "${from.local}"${
          found?.error === undefined
            ? "; import a literal specifier"
            : `: ${found.error}`
        }`,
      );
    }
    const target = redirects[found.specifier] ?? found.specifier;
    const { npmPackage } = modules.get(target) ?? {};
    if (npmPackage === undefined) return { target };
    return {
      target: target.replace(/^npm:\/?((?:@[^/]+\/)?[^@/]+)@[^/]+/, "$1"),
      within: npmPackages![npmPackage]!.localPath,
    };
  }

  async #load(
    name: string,
    type: string | undefined,
    maps: boolean,
  ): Promise<OnLoadResult> {
    const { modules, tsconfig } = this.#graph;
    const { local, error } = modules.get(this.#specifiers.get(name)!)!;
    if (local === undefined) {
      throw new Error(error ?? `No "${name}"`);
    }
    const contents = Deno.readFileSync(local);
    this.#read.set(name, [local, await digest(contents)]);
    if (type === "text") return { contents, loader: "text" };
    if (type === "bytes") return { contents, loader: "binary" };
    const [, loader = "js"] = /\.[cm]?([jt]sx?|json)$/.exec(local) ?? [];
    if (loader !== "ts" && loader !== "js") {
      return { contents, loader: loader as Loader };
    }
    return {
      contents: await withoutComments(contents, loader, local, tsconfig, maps),
      loader: "js",
    };
  }
}

/** Imports for their effects only, which esbuild drops in TypeScript and Deno does not. */
const EFFECTS = /\bimport\s*\{\s*\}\s*from\b/g;

/** A module without comments, which esbuild otherwise keeps within expressions, and types. */
export async function withoutComments(
  contents: Uint8Array,
  loader: "js" | "ts",
  path: string,
  tsconfig: Tsconfig,
  maps: boolean,
): Promise<string> {
  const { transform } = await import("esbuild");
  const text = new TextDecoder().decode(contents).replace(EFFECTS, "import");
  const { code } = await transform(text, {
    loader,
    minifyWhitespace: true,
    legalComments: "none",
    target: "esnext",
    charset: "utf8",
    logLevel: "silent",
    tsconfigRaw: tsconfig,
    sourcefile: path,
    ...(maps && { sourcemap: "inline", sourcesContent: false }),
  });
  return code;
}

/** The first message of a failed build, with its place. */
function messageOf(
  error: Error & {
    readonly errors?: readonly {
      readonly text: string;
      readonly location: { file: string; line: number; column: number } | null;
    }[];
  },
): string {
  const [first] = error.errors ?? [];
  if (first === undefined) return error.message;
  const { text, location } = first;
  return location === null || location.file.startsWith(ENTRY)
    ? text
    : `${location.file.replace(`${CODE}:`, "")}:${location.line}:${
      location.column + 1
    }: ${text}`;
}
