import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import type { Module, ModuleGraph } from "./modules.ts";
import type { ProjectSettings } from "./project.ts";
import type { Reduced } from "./reduce.ts";

/** The module of this program that runs within a stage's process. */
export const CHILD = new URL("../attempts/child.ts", import.meta.url).href;

/** All code that a task's process runs, as it counts for the key. */
export interface CodeListing {
  /** The task's own module: two tasks may import each other. */
  readonly entry: string;
  /** Modules by `moduleName()`: the blob of the reduced text, and where each import leads. */
  readonly modules: Readonly<Record<string, ListedModule>>;
  /** Packages by `name@version`, with the integrity that the lock file gives them. */
  readonly packages: Readonly<Record<string, string>>;
  /** Settings of the project that change what code does. */
  readonly options: Readonly<Record<string, unknown>>;
}

interface ListedModule {
  readonly text: string;
  readonly imports: Readonly<Record<string, string>>;
}

/** Code whose imports cannot be told by reading it: any package may be meant. */
const COMPUTED_IMPORT =
  /\bimport\s*\((?!\s*["'])|\bcreateRequire\b|["'`](?:node:)?module["'`]|\beval\s*\(|\bFunction\s*\(/;

/**
 * Specifiers of the modules that entries import when they run: those imported
 * for their types only are left out.
 *
 * @throws {Error} If an import cannot be followed.
 */
export function reachable(
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
          `"${name}" in "${module.path}" is not an import that can be followed; write \`import\` with a literal name`,
        );
      }
      if (graph.modules.has(target)) found.add(target);
    }
  }
  return found;
}

/** Lists what the modules of an entry are made of. `texts` has the blob of each module's text. */
export function listCode(
  entry: string,
  members: ReadonlySet<string>,
  graph: ModuleGraph,
  reduced: ReadonlyMap<string, Reduced>,
  texts: ReadonlyMap<string, string>,
  project: string,
  settings: ProjectSettings,
): CodeListing {
  const modules: Record<string, ListedModule> = {};
  const packages = new Set<string>();
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
    const { text } = reduced.get(specifier) ?? module;
    if (COMPUTED_IMPORT.test(String(text))) {
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
    },
  };
}

/** The imports that a module makes when it runs; all of them, if it was not reduced. */
function importsOf(
  module: Module,
  reduced: ReadonlyMap<string, Reduced>,
): readonly string[] {
  return reduced.get(module.specifier)?.imports ?? [...module.imports.keys()];
}

/** Begins the names of modules outside the project. */
const OUTSIDE = "task:";

/**
 * Name of a module in a listing: its path below the project; outside, its path
 * from the folder of the task, so that it makes no difference where that lies;
 * or its specifier.
 *
 * @param entry The task's own module.
 */
export function moduleName(
  specifier: string,
  project: string,
  entry: string,
): string {
  if (specifier === CHILD) return "scheduler/child.ts";
  if (!specifier.startsWith("file:")) return specifier;
  const path = fileURLToPath(specifier);
  const below = relative(project, path).replaceAll("\\", "/");
  if (!below.startsWith("../")) return below;
  const folder = dirname(fileURLToPath(entry));
  return OUTSIDE + relative(folder, path).replaceAll("\\", "/");
}

/** The file of a module by its name in a listing. */
export function modulePath(
  name: string,
  project: string,
  entry: string,
): string {
  return name.startsWith(OUTSIDE)
    ? join(dirname(fileURLToPath(entry)), name.slice(OUTSIDE.length))
    : join(project, name);
}
