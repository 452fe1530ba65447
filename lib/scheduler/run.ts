import type { Graph } from "../pipeline/graph.ts";
import { holdOff, keepWithin } from "../store/cleanup.ts";
import type { Store } from "../store/store.ts";
import { openContext, openStore } from "./context.ts";
import type { Event, Summary } from "./events.ts";
import { local } from "./executors/local.ts";
import { withCache } from "./failure.ts";
import { Scheduler } from "./scheduler.ts";
import type { Settings } from "./settings.ts";

/**
 * Brings stages and all that they need up to date, as many at a time as the
 * limits allow. A failed stage holds up those that need it.
 *
 * @param targets Ids of stages; none for all.
 * @param emit Called with all that happens; the last event is the summary.
 * @param store The cache, if it is open already.
 * @param signal Ends the run: running stages are asked to write a checkpoint and stop.
 * @throws {BusyError} After the summary, if another process runs a stage and waiting was not wanted.
 */
export async function run(
  graph: Graph,
  targets: readonly string[],
  settings: Settings,
  emit: (event: Event) => void,
  signal: AbortSignal,
  store = openStore(settings),
): Promise<Summary> {
  const start = performance.now();
  const { tally, busy } = await bringAll(
    graph,
    targets,
    settings,
    store,
    emit,
    signal,
  );
  const { counts } = tally;
  if (counts.ran > 0) await keepWithin(store, settings.cacheLimit);
  const seconds = (performance.now() - start) / 1000;
  const summary: Summary = { type: "summary", ...counts, seconds };
  emit(summary);
  if (busy !== undefined) throw busy;
  return summary;
}

/** Brings the stages to an end, while no clean-up takes what they need. */
async function bringAll(
  graph: Graph,
  targets: readonly string[],
  settings: Settings,
  store: Store,
  emit: (event: Event) => void,
  signal: AbortSignal,
): Promise<Scheduler> {
  // First of all: the code of the tasks is put into the cache before any result needs it.
  using _live = await holdOff(store);
  const context = await openContext(graph, targets, settings, store);
  const { pipeline } = graph;
  const scheduler = new Scheduler(context, local, emit, signal);
  emit({ type: "start", pipeline, stages: [...context.selected] });
  await scheduler.run();
  context.sources.save();
  await withCache(store, () => store.noteRun(pipeline, scheduler.tally.keys));
  return scheduler;
}
