import { join } from "node:path";
import { readText } from "../pipeline/faults.ts";
import type { Graph } from "../pipeline/graph.ts";
import { Store } from "../store/store.ts";
import type { Given } from "./arguments.ts";
import { UsageError } from "./exit.ts";
import { absolutePath, findPipeline, PROJECT } from "./place.ts";
import { type Question, readSnapshot, writeSnapshot } from "./snapshot.ts";

/** The graph of a pipeline that the user named. */
export interface OpenedGraph {
  readonly graph: Graph;
  /** The cache that the graph is kept in. */
  readonly store: Store;
  /** Keeps the graph for the next time; worth calling once the code of the tasks was read. */
  keep(): Promise<void>;
}

/**
 * Finds and reads the pipeline that is the first argument.
 *
 * @param out Absolute path of the output folder.
 * @throws {UsageError} If there is no such pipeline, or a setting is none.
 * @throws {PipelineError} If the file has faults.
 */
export async function openGraph(
  given: Given,
  out: string,
): Promise<OpenedGraph> {
  const since = Date.now();
  const file = findPipeline(given.positionals[0]!);
  const question: Question = {
    file,
    text: await readText(file),
    profile: given.value("profile"),
    settings: given.values("set"),
    tasks: absolutePath(given.value("tasks") ?? join(PROJECT, "tasks")),
  };
  const store = new Store(join(out, "cache"));
  const known = await readSnapshot(question, store);
  if (known !== undefined) return { graph: known, store, keep: async () => {} };
  const graph = await readGraph(question);
  return {
    graph,
    store,
    keep: () => writeSnapshot(question, graph, since, PROJECT, store),
  };
}

async function readGraph(
  { file, text, profile, settings, tasks }: Question,
): Promise<Graph> {
  const [{ expandPipeline }, { parseSetting }] = await Promise.all([
    import("../pipeline/load.ts"),
    import("../pipeline/params.ts"),
  ]);
  const parsed = await Promise.all(settings.map(async (setting) => {
    try {
      return await parseSetting(setting);
    } catch (error) {
      throw error instanceof Error ? new UsageError(error.message) : error;
    }
  }));
  return await expandPipeline(file, text, { tasks, profile, settings: parsed });
}

/**
 * The stages that the arguments after the pipeline select, by id.
 *
 * @throws {UsageError} If one selects none.
 */
export async function selectedStages(
  graph: Graph,
  patterns: readonly string[],
): Promise<readonly string[]> {
  if (patterns.length === 0) return [];
  const { matchStages } = await import("../pipeline/graph.ts");
  const { stages, problems } = matchStages(graph, patterns);
  if (problems.length > 0) throw new UsageError(problems.join("\n"));
  return stages;
}
