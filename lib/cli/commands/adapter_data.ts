/** The data that an adapter was trained on. */
import type { Graph, GraphStage } from "../../pipeline/graph.ts";
import { join } from "../../store/paths.ts";

/** The stage of the data that an adapter was trained on, the nearest data set upstream; undefined if there is none. */
export function dataOf(
  stage: GraphStage,
  graph: Graph,
): GraphStage | undefined {
  const upstream = [stage];
  for (const { inputs } of upstream) {
    for (const id of Object.values(inputs).flat()) {
      const input = graph.stages.get(id)!;
      const { kind, files } = input.declaration.output;
      if (kind === "dataset" && files.includes("dataset.json")) return input;
      // A report may be on other data as well.
      if (kind !== "report") upstream.push(input);
    }
  }
  return undefined;
}

/** Whether the examples of a data set, in its folder, are pairs of texts. */
export function isOfPairs(folder: string): boolean {
  const text = Deno.readTextFileSync(join(folder, "dataset.json"));
  return JSON.parse(text).columns.length > 1;
}
