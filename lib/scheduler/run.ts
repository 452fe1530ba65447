import type { Graph } from "../pipeline/graph.ts";
import { holdOff, keepWithin } from "../store/cleanup.ts";
import { openContext } from "./context.ts";
import type { Event, Summary } from "./events.ts";
import { local } from "./executors/local.ts";
import { Scheduler } from "./scheduler.ts";
import type { Settings } from "./settings.ts";

/**
 * Brings stages and all that they need up to date, as many at a time as the
 * limits allow. A failed stage holds up those that need it.
 *
 * @param targets Ids of stages; none for all.
 * @param emit Called with all that happens; the last event is the summary.
 * @param signal Ends the run: running stages are asked to write a checkpoint and stop.
 * @throws {BusyError} After the summary, if another process runs a stage and waiting was not wanted.
 */
export async function run(
  graph: Graph,
  targets: readonly string[],
  settings: Settings,
  emit: (event: Event) => void,
  signal: AbortSignal,
): Promise<Summary> {
  const start = performance.now();
  const context = await openContext(graph, targets, settings);
  const { store, selected, sources } = context;
  const { pipeline } = graph;
  const scheduler = new Scheduler(context, local, emit, signal);
  emit({ type: "start", pipeline, stages: [...selected] });
  {
    using _live = await holdOff(store);
    await scheduler.run();
    sources.save();
    await store.noteRun(pipeline, scheduler.tally.keys);
  }
  const { counts } = scheduler.tally;
  if (counts.ran > 0) await keepWithin(store, settings.cacheLimit);
  const seconds = (performance.now() - start) / 1000;
  const summary: Summary = { type: "summary", ...counts, seconds };
  emit(summary);
  if (scheduler.busy !== undefined) throw scheduler.busy;
  return summary;
}
