import type { BuildFailure } from "esbuild";
import type { SourceMapping } from "node:module";
import { basename, dirname, fromFileUrl } from "../files/paths.ts";
import { CHILD, ENTRY, Modules, NAMED } from "./esbuild_plugin.ts";
import { moduleGraph } from "./module_graph.ts";

/**
 * The code of a stage as one file: its task, `child.ts`, and all that they
 * import.
 */
export interface Bundle {
  readonly text: string;
  /**
   * Files that it was made from, with the SHA-256 of what was read; empty for a
   * file that does not exist. Packages count by the lock file, linked ones by
   * their files.
   */
  readonly files: readonly (readonly [path: string, raw: string])[];
  /** Source map as JSON, if requested. */
  readonly map?: string;
}

/**
 * Bundles tasks. Deno resolves the imports and compiles TypeScript, as in
 * `deno run`, and esbuild makes one file of what they lead to. Only what
 * packages import is resolved by esbuild, by the rules of Node.js. The text
 * does not depend on the location of the project, nor on comments, formatting,
 * types and unused functions.
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

/**
 * End of the last call of {@linkcode bundleTasks}. Calls take turns, since each
 * ends the process of esbuild, which would keep up to 1 GB.
 */
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
      // Of the modules in the bundle, none is the one that Deno was started
      // with.
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
    // Only with maps is the position that in the source file.
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
      // Packages in CommonJS require built-in modules, which a module cannot do
      // by itself.
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

/**
 * Matches esbuild's form of `require()` of a module that is not in the bundle.
 */
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

/** The code of a module in a bundle. */
export interface Section {
  /** Path relative to the project, or the package: `zod@4.6.7`. */
  readonly module: string;
  /** Its first line in the bundle, from 0. */
  readonly start: number;
  readonly lines: readonly string[];
}

/**
 * Sections of a bundle, in order. A package has one for each of its modules.
 */
export function sectionsOf(bundle: string): Section[] {
  const sections: Section[] = [];
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

/**
 * Returns a function from a line and column of a bundle with a source map to
 * those of the source file, all from 0; undefined for code that has no source.
 */
export async function sourcePositions(
  { map }: Bundle,
): Promise<(line: number, column: number) => SourceMapping | undefined> {
  const { SourceMap } = await import("node:module");
  const source = new SourceMap(JSON.parse(map!));
  return (line: number, column: number) => {
    const entry = source.findEntry(line, column);
    return "originalLine" in entry ? entry : undefined;
  };
}

/**
 * Replaces the positions in a bundle that a stack trace names by those in the
 * source files. The bundle is made again, with a source map; the trace is
 * returned unchanged if the rebuilt bundle differs.
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
  const positions = new RegExp(
    `file://\\S*${basename(path)}:(\\d+):(\\d+)`,
    "g",
  );
  if (!positions.test(trace)) return trace;
  const bundles = await bundleTasks([task], project, true)
    .catch(() => undefined); // The files have been edited since.
  const bundle = bundles?.get(task);
  if (bundle?.text !== Deno.readTextFileSync(path)) return trace;
  const positionOf = await sourcePositions(bundle);
  return trace.replaceAll(positions, (all, line, column) => {
    const source = positionOf(Number(line) - 1, Number(column) - 1);
    if (source === undefined) return all;
    const { originalSource, originalLine, originalColumn } = source;
    const at = [originalLine + 1, originalColumn + 1].join(":");
    return `file:///${originalSource.replace(/^\//, "")}:${at}`;
  });
}
