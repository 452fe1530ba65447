import { join } from "node:path";
import { DamagedBlobError } from "../store/blobs.ts";
import type { Manifest } from "../store/manifest.ts";
import { taskCode } from "./code/code.ts";
import { type Context, stageOf } from "./context.ts";
import { decide, type Decided } from "./decisions/decide.ts";
import type { Event } from "./events.ts";
import type { Executor } from "./executors/executor.ts";
import { BusyError, MovedError, StageFailure } from "./failure.ts";
import { Slots } from "./limits/limits.ts";
import { Tally } from "./tally.ts";
import { sweepVisible } from "./attempts/visible.ts";

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
export class Scheduler {
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
    const { runStage } = await import("./attempts/run_stage.ts");
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
    const { sweepRuns } = await import("./attempts/run_folder.ts");
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
      const { makeVisible } = await import("./attempts/commit.ts");
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
