import { join } from "node:path";
import type { Graph, GraphStage } from "../pipeline/graph.ts";
import type { Task } from "../pipeline/task.ts";
import { Store } from "../store/store.ts";
import { type TaskCode, taskCode } from "./code/code.ts";
import type { Facility } from "./events.ts";
import { withCache } from "./failure.ts";
import { selectStages } from "./select.ts";
import type { Settings } from "./settings.ts";
import { SourcePaths } from "./keys/source_paths.ts";

/** What planning and running share: a graph, and where and how it is worked on. */
export interface Context {
  readonly graph: Graph;
  readonly settings: Settings;
  readonly store: Store;
  /** Stages asked for and those that they need, in topological order. */
  readonly selected: ReadonlySet<string>;
  /** The code of each task, by the URL of its module. */
  readonly code: Map<string, TaskCode>;
  readonly facilities: ReadonlyMap<string, Facility>;
  readonly sources: SourcePaths;
  /** What becomes ready for use, once for all stages. */
  readonly prepared: Map<Facility, Promise<void>>;
}

/**
 * Opens the cache and finds the code and the facilities of all stages asked for.
 *
 * @throws {Error} If a task's code cannot be read, or a facility does not exist.
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
  const facilities = new Map<string, Facility>();
  for (const name of needs) {
    const find = settings.facilities[name];
    if (find === undefined) {
      throw new Error(`A task needs "${name}", which this program lacks`);
    }
    facilities.set(name, await find());
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
    facilities,
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

/** The facilities that a stage needs, by name, ready for use. */
export async function readyFacilities(
  { facilities, prepared }: Context,
  stage: GraphStage,
): Promise<Map<string, Facility>> {
  const ready = new Map<string, Facility>();
  for (const name of stage.declaration.needs) {
    const facility = facilities.get(name)!;
    if (!prepared.has(facility)) prepared.set(facility, facility.prepare());
    await prepared.get(facility);
    ready.set(name, facility);
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
