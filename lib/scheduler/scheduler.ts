import { join } from "node:path";
import type { Graph } from "../pipeline/graph.ts";
import { DamagedBlobError } from "../store/blobs.ts";
import { holdOff, keepWithin } from "../store/cleanup.ts";
import type { Manifest } from "../store/manifests.ts";
import type { Store } from "../store/store.ts";
import { sweepVisible, visibleFolder } from "./visible.ts";
import { taskCode } from "./code.ts";
import { type Context, openContext, openStore, stageOf } from "./context.ts";
import { decide, type Decided } from "./plan.ts";
import type { Decision, Event, Summary } from "./events.ts";
import type { Executor } from "./executors/executor.ts";
import { local } from "./executors/local.ts";
import {
  BusyError,
  inWords,
  MovedError,
  StageFailure,
  withCache,
} from "./failure.ts";
import { Slots } from "./limits.ts";
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

/** A stage that has come to an end: with a result, or with the reason why there is none. */
type Settled = { readonly manifest: Manifest } | { readonly lacking: string };

/** How often a stage starts over because what it is made from has changed. */
const MOST_MOVES = 20;

/** How often the cache may lose the same content before a stage that reads it is given up. */
const MOST_LOSSES = 5;

/** Nothing more is to be started. */
class Halt extends Error {
  override readonly name = "Halt";

  constructor() {
    super("stopped after a failure");
  }
}

/**
 * Brings stages up to date. Each is a promise that waits for those of the
 * stages that it needs, so the order is that of the edges and nothing else.
 * Modules that only a stage that runs needs are loaded when one does: reading
 * modules is most of what a run with nothing to do takes.
 */
class Scheduler {
  readonly tally: Tally;
  /** Set if another process was found to run a stage, and waiting was not wanted. */
  busy: BusyError | undefined;
  readonly #context: Context;
  readonly #executor: Executor;
  readonly #emit: (event: Event) => void;
  readonly #signal: AbortSignal;
  /** Ends the waiting of stages that are not to start any more. */
  readonly #halt = new AbortController();
  readonly #slots: Slots;
  readonly #settled = new Map<string, Promise<Settled>>();
  #swept: Promise<void> | undefined;

  constructor(
    context: Context,
    executor: Executor,
    emit: (event: Event) => void,
    signal: AbortSignal,
  ) {
    this.tally = new Tally(context, emit);
    this.#context = context;
    this.#executor = executor;
    this.#emit = emit;
    this.#signal = signal;
    this.#slots = new Slots(context.settings.limits);
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
      return await this.#work(id);
    } catch (error) {
      if (this.#signal.aborted && error === this.#signal.reason) {
        return this.#skip(id, "interrupted");
      }
      if (error instanceof Halt) return this.#skip(id, error.message);
      if (error instanceof BusyError) this.busy ??= error;
      return this.#fail(id, error);
    }
  }

  /** Waits for what the stage needs, and starts over if that proves damaged or its code changes. */
  async #work(id: string): Promise<Settled> {
    const stage = stageOf(this.#context, id);
    const losses = new Map<string, number>();
    for (let moves = 0;;) {
      const results = new Map<string, Manifest>();
      for (const input of new Set(Object.values(stage.inputs).flat())) {
        const settled = await this.#get(input);
        if ("lacking" in settled) return this.#skip(id, settled.lacking);
        results.set(input, settled.manifest);
      }
      this.#signal.throwIfAborted();
      this.#halt.signal.throwIfAborted();
      try {
        return await this.#bring(id, results);
      } catch (error) {
        if (error instanceof DamagedBlobError) {
          const times = (losses.get(error.blob) ?? 0) + 1;
          losses.set(error.blob, times);
          if (times === MOST_LOSSES) {
            throw new StageFailure(
              `The cache keeps losing what it is made from (${error.message}); check the disk of "${this.#context.store.folder}"`,
            );
          }
          this.#forget(error.blob, results);
        } else if (error instanceof MovedError) {
          if (++moves === MOST_MOVES) {
            throw new StageFailure(
              `What it is made from keeps changing (${error.message}); run it again when nothing writes there`,
            );
          }
          const { code, settings, store } = this.#context;
          const fresh = await taskCode([stage.module], settings.project, store);
          code.set(stage.module, fresh.get(stage.module)!);
        } else {
          throw error;
        }
      }
    }
  }

  async #bring(
    id: string,
    results: ReadonlyMap<string, Manifest>,
  ): Promise<Settled> {
    const context = this.#context;
    const stage = stageOf(context, id);
    const decided = await decide(context, stage, results);
    if ("manifest" in decided) return await this.#reuse(id, decided);
    await (this.#swept ??= this.#sweep());
    const { runStage } = await import("./run_stage.ts");
    const outcome = await runStage(context, stage, decided, {
      results,
      slots: this.#slots,
      executor: this.#executor,
      emit: this.#emit,
      signal: this.#signal,
      waiting: AbortSignal.any([this.#signal, this.#halt.signal]),
    });
    switch (outcome.state) {
      case "failed":
        return this.#fail(id);
      case "reused":
        return await this.#reuse(id, outcome.decided);
      case "ran": {
        const { manifest } = outcome;
        this.tally.succeeded(id, "ran", manifest, manifest.seconds);
        return { manifest };
      }
    }
  }

  /** Removes what processes that died have left. */
  async #sweep(): Promise<void> {
    const { graph: { pipeline }, settings, store } = this.#context;
    const { sweepRuns } = await import("./runs.ts");
    await sweepRuns(store, this.#executor);
    sweepVisible(join(settings.out, pipeline), store);
  }

  /** Takes a stage's result from the cache. */
  async #reuse(
    id: string,
    { decision, manifest }: Extract<Decided, { manifest: Manifest }>,
  ): Promise<Settled> {
    const { graph: { pipeline }, store } = this.#context;
    this.tally.decided(id, decision);
    const start = performance.now();
    if (decision.state === "restore") {
      const { makeVisible } = await import("./run_stage.ts");
      await makeVisible(this.#context, stageOf(this.#context, id), manifest);
      const seconds = (performance.now() - start) / 1000;
      this.tally.succeeded(id, "restored", manifest, seconds);
    } else this.tally.succeeded(id, "unchanged", manifest, 0);
    await store.noteResult(pipeline, id, manifest.key);
    return { manifest };
  }

  /** Has stages brought up to date again whose results held a blob that turned out damaged. */
  #forget(blob: string, results: ReadonlyMap<string, Manifest>): void {
    for (const [id, { files }] of results) {
      if (files.some((file) => file.blob === blob)) this.#settled.delete(id);
    }
  }

  #skip(id: string, reason: string): Settled {
    this.tally.skipped(id, reason);
    return { lacking: reason };
  }

  #fail(id: string, error?: unknown): Settled {
    this.tally.failed(id, error);
    if (!this.#context.settings.keepGoing) this.#halt.abort(new Halt());
    return { lacking: `${id} failed` };
  }
}

type Outcome = "ran" | "restored" | "unchanged" | "failed" | "skipped";

/** Says what becomes of stages, and keeps count of it. */
class Tally {
  readonly #context: Context;
  readonly #emit: (event: Event) => void;
  /** The last outcome of each stage, and the key of its result if it has one. */
  readonly #outcomes = new Map<string, { outcome: Outcome; key?: string }>();

  constructor(context: Context, emit: (event: Event) => void) {
    this.#context = context;
    this.#emit = emit;
  }

  /** Keys of the results that the stages came to. */
  get keys(): string[] {
    return [...this.#outcomes.values()].flatMap(({ key }) => key ?? []);
  }

  /** How many stages came to each end. */
  get counts(): Omit<Summary, "type" | "seconds"> {
    const counts = { ran: 0, restored: 0, unchanged: 0, failed: 0, skipped: 0 };
    for (const { outcome } of this.#outcomes.values()) counts[outcome]++;
    return counts;
  }

  decided(stage: string, decision: Decision): void {
    this.#emit({ type: "decided", stage, decision });
  }

  /** A stage has a result now. */
  succeeded(
    stage: string,
    outcome: "ran" | "restored" | "unchanged",
    { key }: Manifest,
    seconds: number,
  ): void {
    this.#outcomes.set(stage, { outcome, key });
    this.#finished(stage, outcome, seconds);
  }

  /** A stage was not tried. */
  skipped(stage: string, reason: string): void {
    this.#outcomes.set(stage, { outcome: "skipped" });
    this.decided(stage, { state: "skip", reason });
    this.#finished(stage, "skipped", 0, reason);
  }

  /** A stage failed; `error` is given if that was not said yet. */
  failed(stage: string, error?: unknown): void {
    this.#outcomes.set(stage, { outcome: "failed" });
    if (error === undefined) return;
    const message = inWords(error, this.#context.store);
    this.#emit({
      type: "failed",
      stage,
      attempt: 0,
      message,
      log: "",
      retry: false,
    });
  }

  #finished(
    stage: string,
    outcome: Exclude<Outcome, "failed">,
    seconds: number,
    note?: string,
  ): void {
    const { graph: { pipeline }, settings } = this.#context;
    const output = visibleFolder(settings.out, pipeline, { id: stage });
    this.#emit({
      type: "finished",
      stage,
      outcome,
      seconds,
      output,
      ...(note !== undefined && { note }),
    });
  }
}
