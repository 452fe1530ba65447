import type { Setting } from "./child.ts";
import type { Graph, GraphStage } from "../pipeline/graph.ts";
import { holdOff, keepWithin } from "../store/cleanup.ts";
import type { Manifest } from "../store/manifests.ts";
import {
  type Context,
  openContext,
  openStore,
  type Run,
  stageOf,
} from "./context.ts";
import type { Event, Outcome, Summary } from "./events.ts";
import { BusyError, messageOf, withCache } from "./failure.ts";
import { checkSources } from "./key.ts";
import type { Slots } from "./limits.ts";
import { decide, type Missed, type Reused } from "./plan.ts";
import type { StageEnd } from "./run_stage.ts";
import type { Settings } from "./settings.ts";
import { makeVisible, visibleFolder } from "./visible.ts";

/**
 * Brings stages, and the stages that they need, up to date. Stages run in
 * parallel within the limits. A stage that fails blocks those that need it.
 *
 * @param targets Ids of stages; all stages if empty.
 * @param emit Called with each event; the last one is the summary.
 * @param signal Interrupts the run: running stages are asked to write a
 * checkpoint and end.
 * @param store The cache, if it is open already.
 * @throws {Error} Before anything runs, naming the sources of the stages that
 * do not exist.
 * @throws {BusyError} After the summary, if another process holds what a stage
 * needs and `Settings.wait` is false.
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
    let ends: readonly Settled[];
    {
      // Before anything else, since opening the context stores blobs that no
      // result needs yet.
      using _live = await holdOff(store, signal);
      const context = await openContext(graph, targets, settings, store);
      await checkSources(context);
      const { selected } = context;
      const scheduler = new Scheduler(context, emit, signal);
      emit({ type: "start", pipeline: graph.pipeline, stages: [...selected] });
      ends = await Promise.all([...selected].map((id) => scheduler.get(id)));
      const keys = ends.flatMap((end) =>
        "manifest" in end ? end.manifest.key : []
      );
      await store.noteRun(graph.pipeline, keys);
    }
    const counts: Record<Outcome, number> = {
      ran: 0,
      restored: 0,
      unchanged: 0,
      failed: 0,
      skipped: 0,
      interrupted: 0,
    };
    let savedSeconds = 0;
    let busy: BusyError | undefined;
    for (const end of ends) {
      counts[end.outcome]++;
      switch (end.outcome) {
        case "restored":
        case "unchanged":
          savedSeconds += end.manifest.seconds;
          break;
        case "failed":
          busy ??= end.busy;
      }
    }
    const seconds = (performance.now() - start) / 1000;
    const summary: Summary = {
      type: "summary",
      ...counts,
      seconds,
      savedSeconds,
    };
    if (summary.ran + summary.restored + summary.failed > 0) {
      await keepWithin(store, settings.cacheLimit);
    }
    emit(summary);
    if (busy !== undefined) throw busy;
    return summary;
  });
}

/** How a stage has ended: with its result, or the reason why it has none. */
type Settled =
  | {
    readonly outcome: "ran" | "restored" | "unchanged";
    readonly manifest: Manifest;
  }
  | { readonly outcome: "skipped" | "interrupted"; readonly reason: string }
  | FailedStage;

interface FailedStage {
  readonly outcome: "failed";
  readonly reason: string;
  /** Set if another process held what it needs and `Settings.wait` is false. */
  readonly busy?: BusyError;
}

/**
 * Maximum number of times that a stage starts over because its key has changed.
 */
const MAX_TIMES = 5;

/**
 * Each stage is a promise that awaits those of the stages it needs, so the
 * order of execution follows from the edges alone. Modules that a run with
 * nothing to do does not need are imported dynamically: loading modules takes
 * most of the time of such a run.
 */
class Scheduler {
  readonly #run: Run;
  /** Aborted when no further stage is to start after a failure. */
  readonly #halt = new AbortController();
  readonly #settled = new Map<string, Promise<Settled>>();
  /** Ends of the stages that are running or waiting to run, by key. */
  readonly #running = new Map<string, Promise<StageEnd>>();
  #slots: Promise<Slots> | undefined;

  constructor(
    context: Context,
    emit: (event: Event) => void,
    signal: AbortSignal,
  ) {
    const waiting = AbortSignal.any([signal, this.#halt.signal]);
    this.#run = { ...context, emit, signal, waiting };
  }

  /** Completes a stage and all that it needs, once. */
  get(id: string): Promise<Settled> {
    return this.#settled.getOrInsertComputed(id, () => this.#settle(id));
  }

  async #settle(id: string): Promise<Settled> {
    const { emit, signal, store } = this.#run;
    try {
      return await this.#complete(stageOf(this.#run, id));
    } catch (error) {
      if (error === signal.reason) return this.#skip(id, "interrupted");
      if (error === this.#halt.signal.reason) {
        return this.#skip(id, "stopped after a failure");
      }
      // Errors of a task's check of its sources have it, as those of its run.
      const { setting } = error as { readonly setting?: Setting };
      emit({
        type: "failed",
        stage: id,
        attempt: 0,
        message: messageOf(error, store),
        log: "",
        retry: false,
        ...(setting && { setting }),
      });
      const end = this.#fail(id);
      return error instanceof BusyError ? { ...end, busy: error } : end;
    }
  }

  /**
   * Awaits the inputs of a stage, decides on it and does what was decided. It
   * starts over if the key changes meanwhile.
   */
  async #complete(stage: GraphStage): Promise<Settled> {
    const { id } = stage;
    const results = new Map<string, Manifest>();
    for (const input of new Set(Object.values(stage.inputs).flat())) {
      const end = await this.get(input);
      if ("reason" in end) return this.#skip(id, end.reason);
      results.set(input, end.manifest);
    }
    let restarts = 0;
    for (;;) {
      this.#run.waiting.throwIfAborted();
      const decided = await decide(this.#run, stage, results);
      if ("manifest" in decided) {
        if (await decided.fetch()) return await this.#reuse(id, decided);
        continue;
      }
      const { key } = decided;
      const sameKey = this.#running.get(key);
      if (sameKey !== undefined) {
        // Waits without a slot, which others can use.
        await Promise.allSettled([sameKey]);
        continue;
      }
      const running = this.#runStage(stage, decided, results);
      this.#running.set(key, running);
      const end = await running.finally(() => this.#running.delete(key));
      switch (end.state) {
        case "done": {
          const { manifest } = end;
          return this.#succeed(id, "ran", manifest, manifest.seconds);
        }
        case "reused":
          return await this.#reuse(id, end.decided);
        case "failed":
          return this.#fail(id);
        case "interrupted":
          return { outcome: "interrupted", reason: "interrupted" };
        case "restart":
          restarts++;
          if (restarts === MAX_TIMES) {
            throw new Error(
              `Its sources keep changing (${end.message}); run it again when they are stable`,
            );
          }
      }
    }
  }

  async #runStage(
    stage: GraphStage,
    decided: Missed,
    results: ReadonlyMap<string, Manifest>,
  ): Promise<StageEnd> {
    this.#slots ??= this.#prepare();
    const slots = await this.#slots;
    const { runStage } = await import("./run_stage.ts");
    return await runStage(this.#run, stage, decided, results, slots);
  }

  /**
   * Called before the first stage runs: removes the leftovers of dead
   * processes.
   */
  async #prepare(): Promise<Slots> {
    const { emit, settings, store } = this.#run;
    const { sweepRuns } = await import("./runs.ts");
    await sweepRuns(store, settings.executor);
    const { expectation, Slots } = await import("./limits.ts");
    emit(expectation(this.#run));
    return new Slots(settings.limits);
  }

  /** Takes a stage's result from the cache. */
  async #reuse(id: string, { decision, manifest }: Reused): Promise<Settled> {
    const { emit, graph: { pipeline }, store } = this.#run;
    emit({ type: "decided", stage: id, decision });
    const start = performance.now();
    // Noted first: what is visible later is then known as written by the stage.
    await store.noteResult(pipeline, id, manifest.key);
    if (decision.state === "unchanged") {
      return this.#succeed(id, "unchanged", manifest, 0);
    }
    await makeVisible(this.#run, id, manifest);
    const seconds = (performance.now() - start) / 1000;
    return this.#succeed(id, "restored", manifest, seconds);
  }

  #succeed(
    id: string,
    outcome: "ran" | "restored" | "unchanged",
    manifest: Manifest,
    seconds: number,
  ): Settled {
    this.#finish(id, outcome, seconds);
    return { outcome, manifest };
  }

  #skip(id: string, reason: string): Settled {
    const decision = { state: "skip", reason } as const;
    this.#run.emit({ type: "decided", stage: id, decision });
    this.#finish(id, "skipped", 0, reason);
    return { outcome: "skipped", reason };
  }

  #finish(
    stage: string,
    outcome: Exclude<Outcome, "failed" | "interrupted">,
    seconds: number,
    note?: string,
  ): void {
    const { emit, graph: { pipeline }, settings } = this.#run;
    const output = visibleFolder(settings.out, pipeline, stage);
    emit({
      type: "finished",
      stage,
      outcome,
      seconds,
      output,
      ...(note !== undefined && { note }),
    });
  }

  /** Its failure has been emitted already. */
  #fail(id: string): FailedStage {
    if (!this.#run.settings.keepGoing) this.#halt.abort();
    return { outcome: "failed", reason: `${id} failed` };
  }
}
