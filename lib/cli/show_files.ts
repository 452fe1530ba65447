import { join } from "node:path";
import type { Graph } from "../pipeline/graph.ts";
import { selectStages } from "../scheduler/context.ts";
import { visibleFolder } from "../scheduler/visible.ts";
import type { Message } from "./messages.ts";
import { shortPath } from "./place.ts";

/** Shows the files that a pipeline asks to be shown, of the stages that are up to date now. */
export function showFiles(
  graph: Graph,
  targets: readonly string[],
  out: string,
  say: (message: Message) => void,
): void {
  const current = selectStages(graph, targets);
  for (const { stage, file } of graph.show) {
    if (!current.has(stage)) continue;
    const path = join(visibleFolder(out, graph.pipeline, { id: stage }), file);
    try {
      const text = Deno.readTextFileSync(path);
      say({ type: "shown", stage, path: shortPath(path), text });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      say({ type: "note", text: `"${path}", to be shown, does not exist` });
    }
  }
}
