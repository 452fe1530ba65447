import { join } from "../files/paths.ts";
import type { Graph, GraphStage } from "../pipeline/graph.ts";
import type { Task } from "../pipeline/task.ts";
import { Store } from "../store/store.ts";
import type { Event } from "./events.ts";
import { withCache } from "./failure.ts";
import type { Runtime, Settings } from "./settings.ts";

/**
 * Data shared by planning and running. Everything is found once, for all
 * stages.
 */
export interface Context {
  readonly graph: Graph;
  readonly settings: Settings;
  readonly store: Store;
  /**
   * Ids of the selected stages and of all that they need, in topological order.
   */
  readonly selected: ReadonlySet<string>;
  /** Code of each task, by the URL of its module. */
  readonly code: Map<string, TaskCode>;
  readonly runtimes: ReadonlyMap<string, Runtime>;
  /** The last call of `prepare()`, by runtime. */
  readonly prepared: Map<Runtime, Promise<void>>;
}

/** What the stages of a run share. */
export interface Run extends Context {
  readonly emit: (event: Event) => void;
  /**
   * Interrupts the run: running stages are asked to write a checkpoint and end.
   */
  readonly signal: AbortSignal;
  /** Cancels the waiting of stages, but nothing that has started. */
  readonly waiting: AbortSignal;
}

/**
 * Opens the cache and finds the code and the runtimes of the selected stages.
 *
 * @param targets Ids of stages; all stages if empty.
 * @throws {Error} If a task's code cannot be read, or a task needs a runtime
 * that is not in the settings.
 */
export async function openContext(
  graph: Graph,
  targets: readonly string[],
  settings: Settings,
  store: Store,
): Promise<Context> {
  const selected = selectStages(graph, targets);
  const stages = [...selected].map((id) => graph.stages.get(id)!);
  const modules = new Set(stages.map(({ module }) => module));
  const runtimes = new Map<string, Runtime>();
  for (const { task, declaration } of stages) {
    for (const name of declaration.needs) {
      if (runtimes.has(name)) continue;
      const find = settings.runtimes[name];
      if (find === undefined) {
        throw new Error(
          `Task "${task}" needs the runtime "${name}", which does not exist; correct "needs" in its module`,
        );
      }
      runtimes.set(name, await find());
    }
  }
  const code = await withCache(
    store,
    () => taskCode([...modules], settings.project, store),
  );
  const prepared = new Map();
  return { graph, settings, store, selected, code, runtimes, prepared };
}

/** The cache of an output folder. */
export function openStore({ out }: Pick<Settings, "out">): Store {
  return new Store(join(out, "cache"));
}

/**
 * Ids of the stages that are targets and of all that they need, in topological
 * order; of all stages if there are no targets.
 */
export function selectStages(
  graph: Graph,
  targets: readonly string[],
): Set<string> {
  const needed = new Set(targets);
  for (const id of needed) {
    const { inputs } = graph.stages.get(id)!;
    for (const input of Object.values(inputs).flat()) needed.add(input);
  }
  const all = [...graph.stages.keys()];
  return new Set(
    targets.length === 0 ? all : all.filter((id) => needed.has(id)),
  );
}

/** The stage of this id. */
export function stageOf(context: Context, id: string): GraphStage {
  return context.graph.stages.get(id)!;
}

/** The runtimes that a stage needs, by name, after their `prepare()`. */
export async function readyRuntimes(
  { runtimes, prepared }: Context,
  stage: GraphStage,
): Promise<Map<string, Runtime>> {
  const ready = new Map<string, Runtime>();
  for (const name of stage.declaration.needs) {
    const runtime = runtimes.get(name)!;
    // A failure is final, but what was usable may have been damaged since.
    const now = Promise.resolve(prepared.get(runtime)).then(runtime.prepare);
    prepared.set(runtime, now);
    await now;
    ready.set(name, runtime);
  }
  return ready;
}

/** Imports the task of a stage. */
export async function taskOf(
  { module }: Pick<GraphStage, "module">,
): Promise<Task> {
  const { loadTask } = await import("../pipeline/load_task.ts");
  return await loadTask(module);
}

/** Code of a task: the one file that its stages run. */
export interface TaskCode {
  /** Blob of its bundle. */
  readonly bundle: string;
  /**
   * Files that it was made from, with their digests. While these match, it is
   * current.
   */
  readonly files: readonly (readonly [path: string, raw: string])[];
}

/**
 * Section of the store's memo, by project, which resolves imports in its own
 * way, and URL of a task's module.
 */
const SECTION = "code";

/**
 * Code of tasks, by the URL of their modules. Nothing is bundled again until
 * one of the files that a bundle was made from changes.
 *
 * @throws {Error} If a module is missing or does not parse.
 */
export async function taskCode(
  modules: readonly string[],
  project: string,
  store: Store,
): Promise<Map<string, TaskCode>> {
  const codes = new Map<string, TaskCode>();
  for (const module of modules) {
    const stored = store.memo.get<TaskCode>(SECTION, `${project} ${module}`);
    if (stored !== undefined && await isCurrent(stored, store)) {
      codes.set(module, stored);
    }
  }
  const missing = modules.filter((module) => !codes.has(module));
  if (missing.length === 0) return codes;
  const { bundleTasks } = await import("./bundle.ts");
  const bundles = await bundleTasks(missing, project);
  for (const [module, { text, files }] of bundles) {
    const { blob } = await store.blobs.putText(text);
    const code = { bundle: blob, files };
    codes.set(module, code);
    store.memo.set(SECTION, `${project} ${module}`, code);
  }
  await store.memo.save();
  return codes;
}

/**
 * True if none of the files of the code has changed and its bundle is in the
 * cache.
 */
export async function isCurrent(
  { bundle, files }: TaskCode,
  store: Store,
): Promise<boolean> {
  for (const [path, raw] of files) {
    if ((await store.stats.digest(path) ?? "") !== raw) return false;
  }
  return await store.blobs.holds(bundle);
}
