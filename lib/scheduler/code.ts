import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { canonicalJson, quickChecksum } from "../store/digest.ts";
import { readSealed, writeSealed } from "../store/files.ts";
import type { Store } from "../store/store.ts";
import {
  type Module,
  type ModuleGraph,
  moduleGraph,
  type ProjectSettings,
  projectSettings,
  type Reduced,
} from "./modules.ts";

const VERSION = 3;

/** The code of one task. */
export interface TaskCode {
  /** Digest of its `CodeListing`, which is a blob. */
  readonly listing: string;
  /** The files that it was read from and their digests: while these hold, so does the listing. */
  readonly files: readonly (readonly [path: string, raw: string])[];
}

/**
 * The code of tasks, by the URL of their modules. What was found is kept with
 * the digests of the files that it was found from, so that nothing is parsed
 * again until one of these changes.
 *
 * @throws {Error} If a module is missing, does not parse, or imports what cannot be followed.
 */
export async function taskCode(
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
  store.makeFolder();
  writeSealed(store.path("code.json"), {
    version: VERSION,
    tasks: Object.fromEntries(memo),
  }, quickChecksum);
  return found;
}

/** True if none of the files that the code was read from has changed. */
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
  // Loading esbuild takes longer than a run that has nothing to do.
  const { isReducible, reduceModules, stopReducing } = await import(
    "./modules.ts"
  );
  const settings = projectSettings(project);
  const graph = await graphOf([...tasks, CHILD], project);
  const reduced = await reduceModules(
    settings.asWritten ? [] : [...graph.modules.values()].filter(isReducible),
    settings.emit,
  );
  await stopReducing();
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
    );
    found.set(task, {
      listing: (await store.blobs.putBytes(canonicalJson(listing))).blob,
      files: [
        ...settings.files,
        ...[...members].map((specifier) => {
          const { path, raw } = graph.modules.get(specifier)!;
          return [path, raw] as const;
        }),
      ],
    });
  }
  return found;
}

/** The graph of all modules at once: one question to the runtime. */
async function graphOf(modules: readonly string[], project: string) {
  const folder = Deno.makeTempDirSync({ prefix: "modules-" });
  try {
    const entry = `${folder}/entry.js`;
    Deno.writeTextFileSync(
      entry,
      modules.map((module) => `import ${JSON.stringify(module)};\n`).join(""),
    );
    Deno.utimeSync(entry, 0, 0);
    return await moduleGraph(entry, project);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function readMemo(path: string): Map<string, TaskCode> {
  const sealed = readSealed(path, quickChecksum);
  return sealed.state === "whole" && sealed.value.version === VERSION
    ? new Map(Object.entries(sealed.value.tasks as Record<string, TaskCode>))
    : new Map();
}

/** The module of this program that runs within a stage's process. */
export const CHILD = new URL("./child.ts", import.meta.url).href;

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
          `"${name}" in "${module.path}" is not an import that can be followed; write \`import\` with a literal name`,
        );
      }
      if (graph.modules.has(target)) found.add(target);
    }
  }
  return found;
}

/** Lists what the modules of an entry are made of. `texts` has the blob of each module's text. */
function listCode(
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
function moduleName(
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
