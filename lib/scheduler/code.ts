import { canonicalJson, quickChecksum } from "../store/digest.ts";
import { isFull, isReadOnly, readSealed, writeSealed } from "../store/files.ts";
import { dirname, fromFileUrl, join, relative } from "../store/paths.ts";
import type { Store } from "../store/store.ts";
import type { Module, ModuleGraph, Reduced } from "./modules.ts";
import type { ProjectSettings } from "./project.ts";

/** Version of `code.json`. */
const VERSION = 5;

/** Code of a task: its module and everything that it imports, as far as it can change results. */
export interface TaskCode {
  /** Digest of its {@linkcode CodeListing}, which is stored as a blob. */
  readonly listing: string;
  /** Files that it was read from, with their digests. While these match, the listing is current. */
  readonly files: readonly (readonly [path: string, raw: string])[];
}

/**
 * Code of tasks, by the URL of their modules. It is memoized with the digests of
 * the files that it was read from, so that nothing is parsed again until one of
 * them changes.
 *
 * @throws {Error} If a module is missing, does not parse, or has an import that
 * is computed and could lead to other modules of the project or, without a lock
 * file, to any package.
 */
export function taskCode(
  modules: readonly string[],
  project: string,
  store: Store,
): Promise<Map<string, TaskCode>> {
  const result = turn.then(() => readTasks(modules, project, store));
  turn = result.then(() => {}, () => {});
  return result;
}

/** End of the last call of {@linkcode taskCode}. Calls take turns, since each ends the process of esbuild, which all share. */
let turn: Promise<void> = Promise.resolve();

async function readTasks(
  modules: readonly string[],
  project: string,
  store: Store,
): Promise<Map<string, TaskCode>> {
  const memo = readMemo(store.path("code.json"));
  const found = new Map<string, TaskCode>();
  for (const module of modules) {
    const known = memo.get(module);
    if (known !== undefined && await isCurrent(known, store)) {
      found.set(module, known);
    }
  }
  const missing = modules.filter((module) => !found.has(module));
  if (missing.length === 0) return found;
  for (const [module, code] of await readCode(missing, project, store)) {
    found.set(module, code);
    memo.set(module, code);
  }
  try {
    store.makeFolder();
    writeSealed(store.path("code.json"), {
      version: VERSION,
      tasks: Object.fromEntries(memo),
    }, quickChecksum);
  } catch (error) {
    // The memo only saves time; the cache may be another user's.
    if (!isReadOnly(error) && !isFull(error)) throw error;
  }
  return found;
}

/** True if none of the files of the code has changed and its listing is in the cache. */
export async function isCurrent(
  code: TaskCode,
  store: Store,
): Promise<boolean> {
  for (const [path, raw] of code.files) {
    if ((await store.stats.digest(path) ?? "") !== raw) return false;
  }
  return store.blobs.text(code.listing) !== undefined;
}

async function readCode(
  tasks: readonly string[],
  project: string,
  store: Store,
): Promise<Map<string, TaskCode>> {
  // Not needed by a run with nothing to do.
  const { isReducible, isScript, moduleGraph, reduceModules, stopReducing } =
    await import("./modules.ts");
  const { installation, projectSettings } = await import("./project.ts");
  const settings = projectSettings(project);
  const graph = await moduleGraph([...tasks, CHILD], project);
  const installed = installation(project);
  let reduced: ReadonlyMap<string, Reduced>;
  try {
    reduced = await reduceModules(
      settings.asWritten ? [] : [...graph.modules.values()].filter(isReducible),
      settings.emit,
    );
  } finally {
    await stopReducing();
  }
  const texts = new Map<string, string>();
  const found = new Map<string, TaskCode>();
  for (const task of tasks) {
    const members = reachable([task, CHILD], graph, reduced);
    for (const specifier of members) {
      const text = reduced.get(specifier)?.text ??
        graph.modules.get(specifier)!.text;
      texts.set(specifier, (await store.blobs.putBytes(text)).blob);
    }
    const listing = listCode(
      task,
      members,
      graph,
      reduced,
      texts,
      project,
      settings,
      isScript,
    );
    found.set(task, {
      listing: (await store.blobs.putBytes(canonicalJson(listing))).blob,
      files: [
        ...settings.files,
        installed,
        ...[...members].map((specifier) => {
          const { path, raw } = graph.modules.get(specifier)!;
          return [path, raw] as const;
        }),
      ],
    });
  }
  return found;
}

function readMemo(path: string): Map<string, TaskCode> {
  const memo = readSealed(path, quickChecksum);
  return memo?.version === VERSION
    ? new Map(Object.entries(memo.tasks as Record<string, TaskCode>))
    : new Map();
}

/** URL of the scheduler's module that runs in a stage's process. */
export const CHILD = new URL("./child.ts", import.meta.url).href;

/** All code that a stage's process runs, in the form that is part of its key. */
export interface CodeListing {
  /** Name of the task's module, since two tasks may import each other. */
  readonly entry: string;
  /** Modules by {@linkcode moduleName}. */
  readonly modules: Readonly<Record<string, ListedModule>>;
  /** Packages as in {@linkcode ProjectSettings.integrity}, with their integrity in the lock file. */
  readonly packages: Readonly<Record<string, string>>;
  /** Project settings that change what code does. */
  readonly options: Readonly<Record<string, unknown>>;
}

interface ListedModule {
  /** Blob of its reduced text. */
  readonly text: string;
  /** Module, package or built-in that each specifier resolves to. */
  readonly imports: Readonly<Record<string, string>>;
}

/** White space and comments, which modules that are not reduced still have. */
const GAP = String.raw`(?:\s|//.*|/\*(?:[^*]|\*(?!/))*\*/)*`;

/** A string without parts that are known only when the code runs. */
const LITERAL = String.raw`(["'\`])(?:\\[^]|(?!\1|\$\{)[^\\])*\1`;

/** Matches code whose imports are known only when it runs. All packages of the lock file then count, and all that resolves imports. */
const COMPUTED_IMPORT = new RegExp(
  String
    .raw`\bimport${GAP}(?:\.${GAP}(?:defer|source)${GAP})?\((?!${GAP}${LITERAL}${GAP}[,)])` +
    String
      .raw`|\bcreateRequire\b|["'\`](?:node:)?module["'\`]|\beval${GAP}\(|\bFunction${GAP}\(`,
);

/**
 * Specifiers of the entries and of all modules that they import, directly or
 * not, other than for types only.
 *
 * @throws {Error} If an import is not a literal.
 */
function reachable(
  entries: readonly string[],
  graph: ModuleGraph,
  reduced: ReadonlyMap<string, Reduced>,
): Set<string> {
  const found = new Set(entries);
  for (const specifier of found) {
    const module = graph.modules.get(specifier);
    if (module === undefined) continue;
    for (const name of importsOf(module, reduced)) {
      const target = module.imports.get(name);
      if (target === undefined) {
        throw new Error(
          `Cannot resolve the import of "${name}" in "${module.path}"; import a literal specifier`,
        );
      }
      if (graph.modules.has(target)) found.add(target);
    }
  }
  return found;
}

/**
 * The code listing of a task.
 *
 * @param entry Specifier of its module.
 * @param members Specifiers of that module and of all that it imports.
 * @param texts Blob of each module's reduced text.
 * @throws {Error} If an import is computed and the project has no lock file.
 */
function listCode(
  entry: string,
  members: ReadonlySet<string>,
  graph: ModuleGraph,
  reduced: ReadonlyMap<string, Reduced>,
  texts: ReadonlyMap<string, string>,
  project: string,
  settings: ProjectSettings,
  isScript: (module: Module) => boolean,
): CodeListing {
  const modules: Record<string, ListedModule> = {};
  const packages = new Set<string>();
  let isComputed = false;
  for (const specifier of members) {
    const module = graph.modules.get(specifier)!;
    const targets = importsOf(module, reduced)
      .map((name) => [name, module.imports.get(name)!] as const);
    modules[moduleName(specifier, project, entry)] = {
      text: texts.get(specifier)!,
      imports: Object.fromEntries(
        targets.map(([name, target]) => [
          name,
          moduleName(target, project, entry),
        ]),
      ),
    };
    for (const [, target] of targets) {
      if (target.startsWith("npm:")) packages.add(target.slice("npm:".length));
    }
    if (isScript(module) && COMPUTED_IMPORT.test(textOf(module, reduced))) {
      if (!settings.isLocked) {
        throw new Error(
          `"${module.path}" may import packages that it does not name, and without "deno.lock" their versions are not known; run "deno install" in "${project}", or import literal specifiers`,
        );
      }
      isComputed = true;
      for (const name of settings.integrity.keys()) packages.add(name);
    }
  }
  for (const name of packages) {
    for (const needed of graph.packages.get(name) ?? []) packages.add(needed);
  }
  return {
    entry: moduleName(entry, project, entry),
    modules,
    packages: Object.fromEntries(
      [...packages].map((name) => [name, settings.integrity.get(name) ?? ""]),
    ),
    options: {
      ...settings.emit,
      ...settings.beside,
      unstable: settings.unstable,
      ...(isComputed && { resolution: settings.resolution }),
    },
  };
}

function textOf(
  { specifier, text }: Module,
  reduced: ReadonlyMap<string, Reduced>,
): string {
  return reduced.get(specifier)?.text ?? new TextDecoder().decode(text);
}

/** Specifiers that a module imports when it runs; all its specifiers, if it was not reduced. */
function importsOf(
  module: Module,
  reduced: ReadonlyMap<string, Reduced>,
): readonly string[] {
  return reduced.get(module.specifier)?.imports ?? [...module.imports.keys()];
}

/** Prefix of the names of modules outside the project. */
const OUTSIDE = "task:";

/**
 * Name of a module in a listing, which does not depend on where the project is:
 * its path relative to the project; for a file outside, relative to the folder
 * of the task; for other modules, the specifier.
 *
 * @param entry Specifier of the task's module.
 */
function moduleName(
  specifier: string,
  project: string,
  entry: string,
): string {
  if (specifier === CHILD) return "scheduler/child.ts";
  if (!specifier.startsWith("file:")) return specifier;
  const path = fromFileUrl(specifier);
  const below = relative(project, path);
  if (!below.startsWith("../")) return below;
  const folder = dirname(fromFileUrl(entry));
  return OUTSIDE + relative(folder, path);
}

/** Path of a module. Inverse of {@linkcode moduleName} for modules in files. */
export function modulePath(
  name: string,
  project: string,
  entry: string,
): string {
  return name.startsWith(OUTSIDE)
    ? join(dirname(fromFileUrl(entry)), name.slice(OUTSIDE.length))
    : join(project, name);
}
