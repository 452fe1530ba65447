import { join } from "node:path";
import type { GraphStage } from "../pipeline/graph.ts";
import { listFiles, NotAFileError, treeDigest } from "../store/blobs.ts";
import { canonicalJson } from "../store/digest.ts";
import { readSealed, writeSealed } from "../store/files.ts";
import { type Manifest, MANIFEST_VERSION } from "../store/manifests.ts";
import type { Fingerprint } from "../store/stats.ts";
import type { Store } from "../store/store.ts";
import { attempt, type Measured } from "./attempt.ts";
import { makeRunFolder, openLog, type RunFolder } from "./runs.ts";
import { changes, describeChanges } from "./changes.ts";
import type { Context } from "./context.ts";
import type { Event } from "./events.ts";
import type { Executor } from "./executors/executor.ts";
import { MovedError, StageFailure } from "./failure.ts";
import { sourcePrints } from "./key.ts";
import {
  claimOf,
  type HeldGpus,
  lockKey,
  lockMutex,
  type Slots,
  takeGpus,
} from "./limits.ts";
import { decide, type Decided, sourcePaths } from "./plan.ts";
import {
  lockVisible,
  removeFolder,
  replaceFolder,
  restore,
  sweepBeside,
  visibleFolder,
} from "./visible.ts";

/** What running a stage needs besides the stage. */
interface StageOptions {
  readonly results: ReadonlyMap<string, Manifest>;
  readonly slots: Slots;
  readonly executor: Executor;
  readonly emit: (event: Event) => void;
  /** Ends the run. */
  readonly signal: AbortSignal;
  /** Ends the waiting for the run, and nothing that has begun. */
  readonly waiting: AbortSignal;
}

type StageOutcome =
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

/**
 * Takes a stage's artifact into the cache, and then makes it visible: first the
 * contents, then the manifest that says that they are complete. Whoever looks
 * in between finds nothing, or all of it.
 *
 * @throws {StageFailure} If a declared file is missing.
 */
async function commit(
  context: Context,
  stage: GraphStage,
  decided: Decided,
  folder: RunFolder,
  measured: Measured,
): Promise<Manifest> {
  const { graph: { pipeline }, store } = context;
  const paths = artifactFiles(stage, folder.output);
  const files = [];
  for (const path of paths) {
    files.push({ path, ...await store.blobs.put(join(folder.output, path)) });
  }
  for (const listing of Object.values(decided.parts.sources)) {
    await store.listings.keep(listing);
  }
  const manifest: Manifest = {
    version: MANIFEST_VERSION,
    key: decided.key,
    parts: decided.parts,
    task: stage.task,
    pipeline,
    stage: stage.id,
    runtime: `deno ${Deno.version.deno}`,
    ...measured,
    content: treeDigest(files),
    files,
    log: await store.blobs.put(folder.log),
  };
  store.manifests.write(manifest);
  dropCheckpoint(decided.key, store);
  await makeVisible(context, stage, manifest, folder.output);
  await store.noteResult(pipeline, stage.id, decided.key);
  return manifest;
}

/**
 * Makes a result visible: from its own fresh folder, or copied from the cache.
 *
 * @throws {DamagedBlobError} If the cache has lost a file of it.
 */
export async function makeVisible(
  context: Context,
  stage: GraphStage,
  manifest: Manifest,
  fresh?: string,
): Promise<void> {
  const { graph: { pipeline }, settings, store } = context;
  const folder = visibleFolder(settings.out, pipeline, stage);
  using _lock = await lockVisible(folder, store);
  sweepBeside(folder);
  if (fresh === undefined) await restore(folder, manifest, store);
  else replaceFolder(folder, fresh);
}

function artifactFiles(stage: GraphStage, folder: string): string[] {
  let paths: string[];
  try {
    paths = listFiles(folder, "refuse");
  } catch (error) {
    if (!(error instanceof NotAFileError)) throw error;
    throw new StageFailure(error.message, { cause: error });
  }
  const missing = stage.declaration.output.files
    .filter((path) => !paths.includes(path));
  if (missing.length > 0) {
    throw new StageFailure(
      `It did not write ${
        missing.map((path) => `"${path}"`).join(", ")
      }, which its task declares`,
      { code: "output-missing" },
    );
  }
  return paths;
}

/** What is written of no sources: nothing. */
const NONE = "[]";

/**
 * The checkpoint folder for the next attempt at a key, with what the last
 * attempt left. It is moved to a new name each time, so a process of an earlier
 * attempt that is still dying finds nothing to write to. The key must be locked.
 *
 * @param sources Fingerprints of the sources' files. Nothing is left of an
 * attempt that began with others: it may have read another content, although
 * the key is the same again.
 */
function takeCheckpoint(
  key: string,
  sources: readonly (Fingerprint | undefined)[],
  store: Store,
): string {
  const folder = store.makeFolder("checkpoints", key);
  const prints = canonicalJson(sources.map((print) => print ?? null));
  const beside = join(folder, "sources.json");
  const before = readSealed(beside);
  const sameSources = prints ===
    (before.state === "whole" ? before.value.prints : NONE);
  const attempts = [...Deno.readDirSync(folder)]
    .map(({ name }) => Number(name)).filter(Number.isInteger)
    .sort((a, b) => b - a);
  const last = sameSources ? attempts[0] : undefined;
  const next = join(folder, String((attempts[0] ?? 0) + 1));
  for (const attempt of attempts) {
    if (attempt !== last) removeFolder(join(folder, String(attempt)));
  }
  if (!sameSources) writeSealed(beside, { prints });
  if (last === undefined) Deno.mkdirSync(next);
  else Deno.renameSync(join(folder, String(last)), next);
  return next;
}

/** Forgets what is left of attempts at a key. */
function dropCheckpoint(key: string, store: Store): void {
  removeFolder(store.path("checkpoints", key));
}
