import { join } from "node:path";
import type { GraphStage } from "../../pipeline/graph.ts";
import type { Manifest } from "../../store/manifest.ts";
import { attempt, type Measured } from "./attempt.ts";
import { takeCheckpoint } from "./checkpoints.ts";
import { claimOf } from "../limits/claim.ts";
import { commit } from "./commit.ts";
import type { Context } from "../context.ts";
import { decide, type Decided, sourcePaths } from "../decisions/decide.ts";
import type { Event } from "../events.ts";
import type { Executor } from "../executors/executor.ts";
import { MovedError, StageFailure } from "../failure.ts";
import { type HeldGpus, takeGpus } from "../limits/gpus.ts";
import type { Slots } from "../limits/limits.ts";
import { openLog } from "./log.ts";
import { changes, describeChanges } from "../decisions/miss.ts";
import { makeRunFolder } from "./run_folder.ts";
import { sourcePrints } from "../keys/source.ts";
import { lockKey, lockMutex } from "../limits/stage_locks.ts";

/** What running a stage needs besides the stage. */
export interface StageOptions {
  readonly results: ReadonlyMap<string, Manifest>;
  readonly slots: Slots;
  readonly executor: Executor;
  readonly emit: (event: Event) => void;
  /** Ends the run. */
  readonly signal: AbortSignal;
  /** Ends the waiting for the run, and nothing that has begun. */
  readonly waiting: AbortSignal;
}

export type StageOutcome =
  | { readonly state: "ran"; readonly manifest: Manifest }
  /** Another process made the result meanwhile. */
  | {
    readonly state: "reused";
    readonly decided: Extract<Decided, { manifest: Manifest }>;
  }
  | { readonly state: "failed" };

/**
 * Runs a stage that the cache has no result of, and commits what it makes. A
 * lock for its key is held around looking it up again, running and committing,
 * so that of many processes only one does the work.
 *
 * @throws {MovedError} If what its key is made from has changed meanwhile.
 * @throws {BusyError} If another process runs it or holds what it needs, and waiting is not wanted.
 */
export async function runStage(
  context: Context,
  stage: GraphStage,
  decided: Decided,
  options: StageOptions,
): Promise<StageOutcome> {
  const { results, slots, emit, signal, waiting } = options;
  using _slot = await slots.take(claimOf(context, stage), waiting);
  using _key = await lockKey(context, stage, decided.key, options);
  const again = await decide(context, stage, results);
  if (again.key !== decided.key) {
    const moved = changes(decided.parts, again.parts, context.store);
    throw new MovedError(describeChanges(moved));
  }
  if ("manifest" in again) return { state: "reused", decided: again };
  using _mutex = await lockMutex(context, stage, options);
  using gpus = await takeGpus(context, stage, options);
  emit({ type: "decided", stage: stage.id, decision: again.decision });
  for (let number = 1;; number++) {
    const retry = number <= stage.retries;
    const manifest = await runOnce(
      context,
      stage,
      again,
      number,
      retry,
      { ...options, gpus },
    );
    if (manifest !== undefined) return { state: "ran", manifest };
    if (!retry || signal.aborted) return { state: "failed" };
  }
}

/** One attempt and its commit; undefined, and said so, if it failed. */
async function runOnce(
  context: Context,
  stage: GraphStage,
  decided: Decided,
  number: number,
  retry: boolean,
  options: StageOptions & { readonly gpus: HeldGpus },
): Promise<Manifest | undefined> {
  const { store, graph: { pipeline } } = context;
  const { emit, signal } = options;
  using folder = makeRunFolder(store, pipeline, stage.id);
  using log = openLog(folder.log);
  const say = (event: Event) => {
    log.write(event);
    emit(event);
  };
  const { decision } = decided;
  say({
    type: "started",
    stage: stage.id,
    attempt: number,
    reason: number > 1
      ? "the last attempt failed"
      : "reason" in decision
      ? decision.reason
      : "",
  });
  try {
    const sources = await sourcePaths(context, stage);
    const measured: Measured = await attempt(context, stage, decided, folder, {
      ...options,
      checkpoint: takeCheckpoint(
        decided.key,
        [...sources.values()].flatMap(sourcePrints),
        store,
      ),
      emit: say,
    });
    return await commit(context, stage, decided, folder, measured);
  } catch (error) {
    if (!(error instanceof StageFailure)) throw error;
    const kept = join(
      store.makeFolder("failures", pipeline),
      `${stage.id}.jsonl`,
    );
    const { message } = error;
    const failed: Event = {
      type: "failed",
      stage: stage.id,
      attempt: number,
      message,
      log: kept,
      retry: retry && !signal.aborted,
      ...(error.code !== undefined && { code: error.code }),
    };
    log.write(failed);
    Deno.renameSync(folder.log, kept);
    store.histories.failed(pipeline, stage.id, {
      key: decided.key,
      message,
      ended: new Date().toISOString(),
      log: kept,
    });
    emit(failed);
    return undefined;
  }
}
