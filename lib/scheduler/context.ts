import { join } from "node:path";
import type { Graph, GraphStage } from "../pipeline/graph.ts";
import type { Task } from "../pipeline/task.ts";
import { Store } from "../store/store.ts";
import { type TaskCode, taskCode } from "./code.ts";
import type { Runtime } from "./events.ts";
import { withCache } from "./failure.ts";
import { SourcePaths } from "./key.ts";
import type { Settings } from "./settings.ts";

/** What planning and running share: a graph, and where and how it is worked on. */
export interface Context {
  readonly graph: Graph;
  readonly settings: Settings;
  readonly store: Store;
  /** Stages asked for and those that they need, in topological order. */
  readonly selected: ReadonlySet<string>;
  /** The code of each task, by the URL of its module. */
  readonly code: Map<string, TaskCode>;
  readonly runtimes: ReadonlyMap<string, Runtime>;
  readonly sources: SourcePaths;
  /** What becomes ready for use, once for all stages. */
  readonly prepared: Map<Runtime, Promise<void>>;
}

/**
 * Opens the cache and finds the code and the runtimes of all stages asked for.
 *
 * @throws {Error} If a task's code cannot be read, or a runtime does not exist.
 */
export async function openContext(
  graph: Graph,
  targets: readonly string[],
  settings: Settings,
  store = openStore(settings),
): Promise<Context> {
  checkNames(graph);
  const selected = selectStages(graph, targets);
  const stages = [...selected].map((id) => graph.stages.get(id)!);
  const modules = new Set(stages.map(({ module }) => module));
  const needs = new Set(
    stages.flatMap(({ declaration }) => declaration.needs),
  );
  const runtimes = new Map<string, Runtime>();
  for (const name of needs) {
    const find = settings.runtimes[name];
    if (find === undefined) {
      throw new Error(`A task needs "${name}", which this program lacks`);
    }
    runtimes.set(name, await find());
  }
  return {
    graph,
    settings,
    store,
    selected,
    code: await withCache(
      store,
      () => taskCode([...modules], settings.project, store),
    ),
    runtimes,
    sources: new SourcePaths(store, settings.project),
    prepared: new Map(),
  };
}

/** The cache of an output folder. */
export function openStore({ out }: Pick<Settings, "out">): Store {
  return new Store(join(out, "cache"));
}

/**
 * Names of pipelines and stages become names of folders below `out`.
 *
 * @throws {RangeError} If one cannot.
 */
function checkNames({ pipeline, stages }: Graph): void {
  if (pipeline === "cache") {
    throw new RangeError(
      'A pipeline cannot be named "cache": its outputs would lie within the cache',
    );
  }
  for (const name of [pipeline, ...stages.keys()]) {
    if (!/^[^./\\\0][^/\\\0]*$/.test(name)) {
      throw new RangeError(`"${name}" cannot be the name of a folder`);
    }
  }
}

/** The runtimes that a stage needs, by name, ready for use. */
export async function readyRuntimes(
  { runtimes, prepared }: Context,
  stage: GraphStage,
): Promise<Map<string, Runtime>> {
  const ready = new Map<string, Runtime>();
  for (const name of stage.declaration.needs) {
    const runtime = runtimes.get(name)!;
    if (!prepared.has(runtime)) prepared.set(runtime, runtime.prepare());
    await prepared.get(runtime);
    ready.set(name, runtime);
  }
  return ready;
}

/** The stage of this id. */
export function stageOf(context: Context, id: string): GraphStage {
  return context.graph.stages.get(id)!;
}

/** The task of a stage, imported. */
export async function taskOf(stage: GraphStage): Promise<Task> {
  const { loadTask } = await import("../pipeline/load_task.ts");
  return await loadTask(stage.module);
}

/**
 * The stages asked for and all that they need, in topological order. All
 * stages of the graph if none is asked for.
 *
 * @throws {RangeError} If there is no such stage.
 */
export function selectStages(
  graph: Graph,
  targets: readonly string[],
): Set<string> {
  const needed = new Set(targets);
  for (const id of needed) {
    const stage = graph.stages.get(id);
    if (stage === undefined) {
      throw new RangeError(`Pipeline "${graph.pipeline}" has no stage "${id}"`);
    }
    for (const input of Object.values(stage.inputs).flat()) needed.add(input);
  }
  const all = [...graph.stages.keys()];
  return new Set(
    targets.length === 0 ? all : all.filter((id) => needed.has(id)),
  );
}
