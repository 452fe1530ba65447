import type { Graph } from "../../pipeline/graph.ts";
import { holdOff } from "../../store/cleanup.ts";
import type { Manifest } from "../../store/manifest.ts";
import { openContext, openStore, stageOf } from "../context.ts";
import { decide } from "./decide.ts";
import type { Decision } from "../events.ts";
import type { Settings } from "../settings.ts";

/** What a run would do with each stage of the graph, in topological order. */
export type Plan = ReadonlyMap<string, Decision>;

/**
 * Finds out what a run would do, and does nothing. Of a stage that reads what
 * is still to be made, no more can be said than that it may run.
 *
 * @param targets Ids of stages; none for all.
 * @param store The cache, if it is open already.
 */
export async function plan(
  graph: Graph,
  targets: readonly string[],
  settings: Settings,
  store = openStore(settings),
): Promise<Plan> {
  using _live = await holdOff(store);
  const context = await openContext(graph, targets, settings, store);
  const results = new Map<string, Manifest>();
  const decisions = new Map<string, Decision>();
  for (const [id, stage] of graph.stages) {
    if (!context.selected.has(id)) {
      decisions.set(id, { state: "skip", reason: "not asked for" });
      continue;
    }
    const missing = Object.values(stage.inputs).flat()
      .filter((input) => !results.has(input));
    if (missing.length > 0) {
      decisions.set(id, {
        state: "unknown",
        reason: `needs ${missing[0]}${
          missing.length > 1 ? ` and ${missing.length - 1} more` : ""
        } first`,
      });
      continue;
    }
    const decided = await decide(context, stageOf(context, id), results);
    decisions.set(id, decided.decision);
    if ("manifest" in decided) results.set(id, decided.manifest);
  }
  context.sources.save();
  await store.saveStats();
  return decisions;
}
