import type { Graph } from "../pipeline/graph.ts";

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
