import type { Graph } from "../pipeline/graph.ts";
import type { Manifest } from "../store/manifest.ts";
import { DamagedBlobError } from "../store/blobs.ts";
import { holdOff, keepWithin } from "../store/cleanup.ts";
import { taskCode } from "./code.ts";
import { makeVisible } from "./commit.ts";
import { type Context, openContext, stageOf } from "./context.ts";
import { decide, type Decided } from "./decide.ts";
import type { Event, Summary } from "./events.ts";
import { local } from "./executors/local.ts";
import { BusyError, inWords, MovedError } from "./failure.ts";
import { Slots } from "./limits.ts";
import { sweepRuns } from "./run_folder.ts";
import type { Settings } from "./settings.ts";
import { runStage, type StageOutcome } from "./run_stage.ts";
import { visibleFolder } from "./visible.ts";

/** A stage that has come to an end: with a result, or with the reason why there is none. */
type Settled = { readonly manifest: Manifest } | { readonly lacking: string };

/**
 * Brings stages and all that they need up to date, as many at a time as the
 * limits allow. A failed stage holds up those that need it, and no others.
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
  const scheduler = new Scheduler(context, emit, signal);
  emit({
    type: "start",
    pipeline: graph.pipeline,
    stages: [...context.selected],
  });
  {
    using _live = await holdOff(context.store);
    await scheduler.run();
    context.sources.save();
    await context.store.noteRun(graph.pipeline, scheduler.keys);
  }
  if (scheduler.counts.ran > 0) {
    await keepWithin(context.store, settings.cacheLimit);
  }
  const summary: Summary = {
    type: "summary",
    ...scheduler.counts,
    seconds: (performance.now() - start) / 1000,
  };
  emit(summary);
  if (scheduler.busy !== undefined) throw scheduler.busy;
  return summary;
}

/** Nothing more is to be started. */
class Halt extends Error {
  override readonly name = "Halt";

  constructor() {
    super("stopped after a failure");
  }
}

class Scheduler {
  readonly counts = {
    ran: 0,
    restored: 0,
    unchanged: 0,
    failed: 0,
    skipped: 0,
  };
  /** Keys of the results that it came to. */
  readonly keys: string[] = [];
  /** The first stage that another process was found to run. */
  busy: BusyError | undefined;
  readonly #context: Context;
  readonly #emit: (event: Event) => void;
  readonly #signal: AbortSignal;
  /** Ends the waiting of stages that are not to start any more. */
  readonly #halt = new AbortController();
  readonly #slots: Slots;
  readonly #settled = new Map<string, Promise<Settled>>();
  #swept: Promise<void> | undefined;

  constructor(
    context: Context,
    emit: (event: Event) => void,
    signal: AbortSignal,
  ) {
    this.#context = context;
    this.#emit = emit;
    this.#signal = signal;
    this.#slots = new Slots(context.settings.limits);
  }

  async run(): Promise<void> {
    await Promise.all([...this.#context.selected].map((id) => this.#get(id)));
  }

  /** The end of a stage, which begins with the ends of the stages that it needs. */
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
      return error instanceof Halt
        ? this.#skip(id, error.message)
        : this.#fail(id, error);
    }
  }

  async #work(id: string): Promise<Settled> {
    const stage = stageOf(this.#context, id);
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
        return await this.#bring(id, results);
      } catch (error) {
        if (error instanceof DamagedBlobError) {
          this.#forget(error.blob, results);
        } else if (error instanceof MovedError) {
          const { code, settings, store } = this.#context;
          const fresh = await taskCode([stage.module], settings.project, store);
          code.set(stage.module, fresh.get(stage.module)!);
        } else {
          throw error;
        }
      }
    }
  }

  /** Brings one stage up to date. */
  async #bring(
    id: string,
    results: ReadonlyMap<string, Manifest>,
  ): Promise<Settled> {
    const context = this.#context;
    const stage = stageOf(context, id);
    const decided = await decide(context, stage, results);
    if ("manifest" in decided) return await this.#reuse(id, decided);
    await (this.#swept ??= sweepRuns(context.store, local));
    const outcome = await runStage(context, stage, decided, {
      results,
      slots: this.#slots,
      executor: local,
      emit: this.#emit,
      signal: this.#signal,
      waiting: AbortSignal.any([this.#signal, this.#halt.signal]),
    });
    return await this.#conclude(id, outcome);
  }

  async #conclude(id: string, outcome: StageOutcome): Promise<Settled> {
    switch (outcome.state) {
      case "ran":
        this.counts.ran++;
        this.keys.push(outcome.manifest.key);
        this.#finish(id, "ran", outcome.manifest.seconds);
        return outcome;
      case "reused":
        return await this.#reuse(id, outcome.decided);
      case "failed":
        return this.#lack(id);
    }
  }

  /** Takes a stage's result from the cache. */
  async #reuse(
    id: string,
    decided: Extract<Decided, { manifest: Manifest }>,
  ): Promise<Settled> {
    const { graph: { pipeline }, store } = this.#context;
    const { decision, manifest } = decided;
    this.#emit({ type: "decided", stage: id, decision });
    this.keys.push(decided.key);
    const start = performance.now();
    if (decision.state === "restore") {
      await makeVisible(this.#context, stageOf(this.#context, id), manifest);
      this.counts.restored++;
      this.#finish(id, "restored", (performance.now() - start) / 1000);
    } else {
      this.counts.unchanged++;
      this.#finish(id, "unchanged", 0);
    }
    await store.noteResult(pipeline, id, decided.key);
    return { manifest };
  }

  /** Has stages brought up to date again whose results held a blob that turned out damaged. */
  #forget(blob: string, results: ReadonlyMap<string, Manifest>): void {
    for (const [id, { files }] of results) {
      if (files.some((file) => file.blob === blob)) this.#settled.delete(id);
    }
  }

  #fail(id: string, error: unknown): Settled {
    if (error instanceof BusyError) this.busy ??= error;
    this.#emit({
      type: "failed",
      stage: id,
      attempt: 0,
      message: inWords(error, this.#context.store),
      log: "",
      retry: false,
    });
    return this.#lack(id);
  }

  #lack(id: string): Settled {
    this.counts.failed++;
    if (!this.#context.settings.keepGoing) this.#halt.abort(new Halt());
    return { lacking: `${id} failed` };
  }

  #skip(id: string, reason: string): Settled {
    this.counts.skipped++;
    this.#emit({
      type: "decided",
      stage: id,
      decision: { state: "skip", reason },
    });
    this.#finish(id, "skipped", 0, reason);
    return { lacking: reason };
  }

  #finish(
    id: string,
    outcome: "ran" | "restored" | "unchanged" | "skipped",
    seconds: number,
    note?: string,
  ): void {
    const { graph: { pipeline }, settings } = this.#context;
    this.#emit({
      type: "finished",
      stage: id,
      outcome,
      seconds,
      output: visibleFolder(settings.out, pipeline, { id }),
      ...(note !== undefined && { note }),
    });
  }
}
