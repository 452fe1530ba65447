import type { Graph } from "../pipeline/graph.ts";
import { DamagedBlobError } from "../store/blobs.ts";
import { holdOff, keepWithin } from "../store/cleanup.ts";
import type { Manifest } from "../store/manifests.ts";
import { type Context, openContext, openStore, stageOf } from "./context.ts";
import type { Event, Summary } from "./events.ts";
import {
  BusyError,
  StageFailure,
  StaleKeyError,
  withCache,
} from "./failure.ts";
import type { Slots } from "./limits.ts";
import { Outcomes } from "./outcomes.ts";
import { decide, type Decided, type Reused } from "./plan.ts";
import type { Settings } from "./settings.ts";
import { checkSources } from "./sources.ts";
import { makeVisible } from "./visible.ts";

/**
 * Brings stages, and the stages that they need, up to date. Stages run in
 * parallel within the limits. A stage that fails blocks those that need it.
 *
 * @param targets Ids of stages; all stages if empty.
 * @param emit Called with each event; the last one is the summary.
 * @param signal Interrupts the run: running stages are asked to write a checkpoint and end.
 * @param store The cache, if it is open already.
 * @throws {Error} Before anything runs, naming the sources of the stages that do not exist.
 * @throws {BusyError} After the summary, if another process holds what a stage needs and `Settings.wait` is false.
 */
export async function run(
  graph: Graph,
  targets: readonly string[],
  settings: Settings,
  emit: (event: Event) => void,
  signal: AbortSignal,
  store = openStore(settings),
): Promise<Summary> {
  return await withCache(store, async () => {
    const start = performance.now();
    let scheduler: Scheduler;
    {
      // Before anything else, since opening the context stores blobs that no result needs yet.
      using _live = await holdOff(store, signal);
      const context = await openContext(graph, targets, settings, store);
      await checkSources(context);
      const { selected } = context;
      scheduler = new Scheduler(context, emit, signal);
      emit({ type: "start", pipeline: graph.pipeline, stages: [...selected] });
      await scheduler.run();
      await store.noteRun(graph.pipeline, scheduler.outcomes.keys);
    }
    const { counts, savedSeconds } = scheduler.outcomes;
    if (counts.ran + counts.restored + counts.failed > 0) {
      await keepWithin(store, settings.cacheLimit);
    }
    const seconds = (performance.now() - start) / 1000;
    const summary: Summary = {
      type: "summary",
      ...counts,
      seconds,
      savedSeconds,
    };
    emit(summary);
    if (scheduler.busy !== undefined) throw scheduler.busy;
    return summary;
  });
}

/** End of a stage: its result, or the reason why it has none. */
type Settled =
  | { readonly manifest: Manifest }
  | { readonly lacking: string };

/** Maximum number of times that a stage starts over because its key has changed, or the cache has lost the same blob. */
const MAX_TIMES = 5;

/** Reason for skipping the stages that an interrupted run has not reached. */
const INTERRUPTED = "interrupted";

/** Thrown to stop scheduling further stages. */
class Halt extends Error {
  override readonly name = "Halt";
}

/**
 * Each stage is a promise that awaits those of the stages it needs, so the
 * order of execution follows from the edges alone. Modules that a run with
 * nothing to do does not need are imported dynamically: loading modules takes
 * most of the time of such a run.
 */
class Scheduler {
  readonly outcomes: Outcomes;
  /** Set if another process held what a stage needs and `Settings.wait` is false. */
  busy: BusyError | undefined;
  readonly #context: Context;
  readonly #emit: (event: Event) => void;
  readonly #signal: AbortSignal;
  /** Aborts the waiting of stages that must no longer start. */
  readonly #halt = new AbortController();
  readonly #settled = new Map<string, Promise<Settled>>();
  /** Ends of the stages that are running or waiting to run, by key. */
  readonly #running = new Map<string, Promise<void>>();
  #slots: Promise<Slots> | undefined;

  constructor(
    context: Context,
    emit: (event: Event) => void,
    signal: AbortSignal,
  ) {
    this.outcomes = new Outcomes(context, emit);
    this.#context = context;
    this.#emit = emit;
    this.#signal = signal;
  }

  /** Brings all selected stages to an end. */
  async run(): Promise<void> {
    await Promise.all([...this.#context.selected].map((id) => this.#get(id)));
  }

  #get(id: string): Promise<Settled> {
    let settled = this.#settled.get(id);
    if (settled === undefined) {
      settled = this.#settle(id);
      this.#settled.set(id, settled);
    }
    return settled;
  }

  async #settle(id: string): Promise<Settled> {
    try {
      return await this.#bring(id);
    } catch (error) {
      if (this.#signal.aborted && error === this.#signal.reason) {
        return this.#skip(id, INTERRUPTED);
      }
      if (error instanceof Halt) return this.#skip(id, error.message);
      if (error instanceof BusyError) this.busy ??= error;
      return this.#fail(id, error);
    }
  }

  /** Awaits the inputs of a stage and brings it up to date; starts over if an input is lost or something changes meanwhile. */
  async #bring(id: string): Promise<Settled> {
    const stage = stageOf(this.#context, id);
    /** How often it has started over, by the lost blob, or for its key. */
    const times = new Map<string, number>();
    for (;;) {
      const results = new Map<string, Manifest>();
      for (const input of new Set(Object.values(stage.inputs).flat())) {
        const settled = await this.#get(input);
        if ("lacking" in settled) return this.#skip(id, settled.lacking);
        results.set(input, settled.manifest);
      }
      this.#signal.throwIfAborted();
      this.#halt.signal.throwIfAborted();
      try {
        return await this.#once(id, results);
      } catch (error) {
        const isLoss = error instanceof DamagedBlobError;
        if (!isLoss && !(error instanceof StaleKeyError)) throw error;
        const reason = isLoss ? error.blob : "key";
        times.set(reason, (times.get(reason) ?? 0) + 1);
        if (times.get(reason) === MAX_TIMES) {
          throw new StageFailure(
            isLoss
              ? `The cache keeps losing its inputs (${error.message}); check the disk of "${this.#context.store.folder}"`
              : `Its sources keep changing (${error.message}); run it again when they are stable`,
          );
        }
        if (isLoss) this.#forget(error.blob, results);
      }
    }
  }

  /** Decides on a stage and does what was decided. */
  async #once(
    id: string,
    results: ReadonlyMap<string, Manifest>,
  ): Promise<Settled> {
    const stage = stageOf(this.#context, id);
    for (;;) {
      const decided = await decide(this.#context, stage, results);
      const { key } = decided;
      if ("manifest" in decided) {
        const { isHere, manifest } = decided;
        const { remote } = this.#context.settings;
        if (!isHere && !await remote!.fetch(manifest)) continue;
        return await this.#reuse(id, decided);
      }
      const twin = this.#running.get(key);
      if (twin !== undefined) {
        // Here it waits without a slot, which others can use.
        await twin;
        this.#signal.throwIfAborted();
        this.#halt.signal.throwIfAborted();
        continue;
      }
      const { promise, resolve: end } = Promise.withResolvers<void>();
      this.#running.set(key, promise);
      try {
        return await this.#run(id, decided, results);
      } finally {
        this.#running.delete(key);
        end();
      }
    }
  }

  /** Runs a stage, unless another process makes its result meanwhile. */
  async #run(
    id: string,
    decided: Exclude<Decided, Reused>,
    results: ReadonlyMap<string, Manifest>,
  ): Promise<Settled> {
    const stage = stageOf(this.#context, id);
    const slots = await (this.#slots ??= this.#prepare());
    const { runStage } = await import("./run_stage.ts");
    const options = {
      results,
      slots,
      emit: this.#emit,
      signal: this.#signal,
      waiting: AbortSignal.any([this.#signal, this.#halt.signal]),
    };
    const outcome = await runStage(this.#context, stage, decided, options);
    switch (outcome.state) {
      case "failed":
        return this.#fail(id);
      case "interrupted":
        this.outcomes.interrupted(id);
        return { lacking: INTERRUPTED };
      case "reused":
        return await this.#reuse(id, outcome.decided);
      case "ran": {
        const { manifest } = outcome;
        this.outcomes.succeeded(id, "ran", manifest, manifest.seconds);
        return { manifest };
      }
    }
  }

  /** Called before the first stage runs: removes the leftovers of dead processes. */
  async #prepare(): Promise<Slots> {
    const { settings, store } = this.#context;
    const { sweepRuns } = await import("./runs.ts");
    await sweepRuns(store, settings.executor);
    const { expectation, Slots } = await import("./limits.ts");
    this.#emit(expectation(this.#context));
    return new Slots(settings.limits);
  }

  /** Takes a stage's result from the cache. */
  async #reuse(id: string, { decision, manifest }: Reused): Promise<Settled> {
    const { graph: { pipeline }, store } = this.#context;
    this.outcomes.decided(id, decision);
    const start = performance.now();
    // Noted first: what is visible later is then known as written by the stage.
    await store.noteResult(pipeline, id, manifest.key);
    if (decision.state === "restore") {
      await makeVisible(this.#context, { id }, manifest, {
        signal: this.#signal,
        onKept: this.#emit,
      });
      const seconds = (performance.now() - start) / 1000;
      this.outcomes.succeeded(id, "restored", manifest, seconds);
    } else this.outcomes.succeeded(id, "unchanged", manifest, 0);
    return { manifest };
  }

  /** Makes the stages whose results contain a lost blob start over. */
  #forget(blob: string, results: ReadonlyMap<string, Manifest>): void {
    for (const [id, { files }] of results) {
      if (files.some((file) => file.blob === blob)) this.#settled.delete(id);
    }
  }

  #skip(id: string, reason: string): Settled {
    this.outcomes.skipped(id, reason);
    return { lacking: reason };
  }

  #fail(id: string, error?: unknown): Settled {
    this.outcomes.failed(id, error);
    if (!this.#context.settings.keepGoing) {
      this.#halt.abort(new Halt("stopped after a failure"));
    }
    return { lacking: `${id} failed` };
  }
}
