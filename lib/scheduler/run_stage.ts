import { join } from "node:path";
import type { GraphStage } from "../pipeline/graph.ts";
import { listTree, NotAFileError, treeDigest } from "../store/blobs.ts";
import { readSealed, removeFolder, writeSealed } from "../files/files.ts";
import {
  type Manifest,
  MANIFEST_VERSION,
  replacedFiles,
} from "../store/manifests.ts";
import type { Store } from "../store/store.ts";
import { attempt, type Attempted } from "./attempt.ts";
import { changes, describeChanges } from "./changes.ts";
import type { Context } from "./context.ts";
import type { Event } from "./events.ts";
import { StageFailure, StageInterrupted, StaleKeyError } from "./failure.ts";
import type { HeldGpus } from "./gpus.ts";
import { claimOf, lockKey, lockMutex, type Slots, takeGpus } from "./limits.ts";
import { openJournal } from "./journal.ts";
import { decide, type Decided, type Reused } from "./plan.ts";
import { makeRunFolder } from "./runs.ts";
import { makeVisible, setModes } from "./visible.ts";

/** Options of {@linkcode runStage}. */
interface StageOptions {
  /** Results of its inputs, by stage. */
  readonly results: ReadonlyMap<string, Manifest>;
  readonly slots: Slots;
  readonly emit: (event: Event) => void;
  /** Interrupts the run. */
  readonly signal: AbortSignal;
  /** Cancels waiting, but nothing that has started. */
  readonly waiting: AbortSignal;
}

/** How the run of a stage ended. */
type StageOutcome =
  | { readonly state: "ran"; readonly manifest: Manifest }
  /** Another process has made the result in the meantime. */
  | { readonly state: "reused"; readonly decided: Reused }
  /** The failure, or the interruption, has been emitted. */
  | { readonly state: "failed" | "interrupted" };

/**
 * Runs a stage whose result is not in the cache, and commits the result. The
 * lock of its key is held while the key is looked up again, the stage runs and
 * the result is committed, so only one of many processes runs it.
 *
 * @throws {StaleKeyError} If something that its key depends on has changed.
 * @throws {BusyError} If another process holds what it needs and `Settings.wait` is false.
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
    const moved = await changes(decided.parts, again.parts, context.store);
    throw new StaleKeyError(describeChanges(moved));
  }
  if ("manifest" in again) return { state: "reused", decided: again };
  using _mutex = await lockMutex(context, stage, options);
  using gpus = await takeGpus(context, stage, options);
  emit({ type: "decided", stage: stage.id, decision: again.decision });
  for (let number = 1;; number++) {
    const retry = number <= stage.retries;
    const run = { number, retry, gpus, ...options };
    const outcome = await runOnce(context, stage, again, run);
    if (typeof outcome === "object") return { state: "ran", manifest: outcome };
    if (outcome === "interrupted" || !retry || signal.aborted) {
      return { state: outcome };
    }
  }
}

interface RunOptions extends StageOptions {
  /** Number of the attempt, from 1. */
  readonly number: number;
  /** True if another attempt follows a failure. */
  readonly retry: boolean;
  readonly gpus: HeldGpus | undefined;
}

/** Makes one attempt and commits its result. */
async function runOnce(
  context: Context,
  stage: GraphStage,
  decided: Decided,
  { number, retry, emit, ...options }: RunOptions,
): Promise<Manifest | "failed" | "interrupted"> {
  const { store, graph: { pipeline } } = context;
  const { key, decision } = decided;
  using folder = makeRunFolder(store, pipeline, stage.id, key);
  using log = openJournal(folder.log);
  const say = (event: Event) => {
    log.write(event);
    emit(event);
  };
  const reason = "reason" in decision ? decision.reason : "";
  say({
    type: "started",
    stage: stage.id,
    attempt: number,
    reason: number > 1 ? "the last attempt failed" : reason,
  });
  try {
    const made = await attempt(context, stage, decided, folder, {
      ...options,
      checkpoint: (prints) => takeCheckpoint(key, prints, store),
      emit: say,
    });
    log.end();
    return await commit(context, stage, decided, made, folder.log, {
      ...options,
      emit,
    });
  } catch (error) {
    if (!(error instanceof StageFailure)) throw error;
    const failures = store.makeFolder("failures", pipeline);
    const kept = join(failures, `${stage.id}.jsonl`);
    const { message } = error;
    const isInterrupted = error instanceof StageInterrupted;
    const end: Event = isInterrupted
      ? {
        type: "interrupted",
        stage: stage.id,
        ...(error.checkpoint !== undefined && { checkpoint: error.checkpoint }),
        log: kept,
      }
      : {
        type: "failed",
        stage: stage.id,
        attempt: number,
        message,
        log: kept,
        retry: retry && !options.signal.aborted,
        ...(error.code !== undefined && { code: error.code }),
      };
    log.write(end);
    log.end();
    Deno.renameSync(folder.log, kept);
    const ended = new Date().toISOString();
    await store.histories.failed(pipeline, stage.id, {
      key,
      message,
      ended,
      log: kept,
      ...(isInterrupted && { interrupted: true }),
    });
    emit(end);
    return end.type;
  }
}

/**
 * Commits a stage's artifact to the cache and makes it visible. Blobs are
 * written before the manifest, so the result is found complete or not at all.
 *
 * @throws {StageFailure} If a declared file is missing, or the artifact contains something other than files.
 */
async function commit(
  context: Context,
  stage: GraphStage,
  { key, parts }: Decided,
  { output, measured }: Attempted,
  log: string,
  { emit, signal }: Pick<StageOptions, "emit" | "signal">,
): Promise<Manifest> {
  const { graph: { pipeline }, settings, store } = context;
  const paths = artifactFiles(stage, output);
  const stored = await store.blobs.putAll([
    ...paths.map((path) => join(output, path)),
    log,
  ]);
  const files = paths.map((path, i) => ({ path, ...stored[i]! }));
  for (const listing of Object.values(parts.sources)) {
    await store.listings.keep(listing);
  }
  const before = store.manifests.find(key);
  const replaced = before === undefined ? [] : replacedFiles(before, files);
  const manifest: Manifest = {
    version: MANIFEST_VERSION,
    key,
    parts,
    task: stage.task,
    pipeline,
    stage: stage.id,
    runtime: `deno ${Deno.version.deno}`,
    ...measured,
    ...await machineOf(context, stage),
    content: await treeDigest(files),
    files,
    ...(replaced.length > 0 && { replaced }),
    log: stored.at(-1)!,
  };
  store.manifests.write(manifest);
  settings.remote?.offer(manifest);
  removeFolder(store.path("checkpoints", key));
  // Noted first: what is visible later is then known as written by the stage.
  await store.noteResult(pipeline, stage.id, key);
  await makeVisible(context, stage, manifest, {
    fresh: output,
    signal,
    onKept: emit,
  });
  return manifest;
}

/** What computed a stage: the machines of its runtimes, and the threads that it was given. */
async function machineOf(
  { runtimes }: Context,
  { declaration: { needs }, resources: { cpus } }: GraphStage,
): Promise<Pick<Manifest, "machine">> {
  const found = await Promise.all(
    needs.map((name) => runtimes.get(name)?.machine?.()),
  );
  const names = found.filter((name) => name !== undefined);
  if (names.length === 0) return {};
  const threads = cpus === 1 ? "1 thread" : `${cpus} threads`;
  return { machine: [...names, threads].join(", ") };
}

function artifactFiles(stage: GraphStage, folder: string): string[] {
  const { isSymlink, isFile } = Deno.lstatSync(folder);
  if (isSymlink || isFile) {
    throw new StageFailure(
      `The stage replaced its output folder by a ${
        isFile ? "file" : "symbolic link"
      }; the task must write its files into the folder`,
    );
  }
  let paths: string[];
  try {
    paths = listTree(folder, "refuse");
    setModes(folder);
  } catch (error) {
    const isDenied = error instanceof Deno.errors.PermissionDenied;
    if (!isDenied && !(error instanceof NotAFileError)) throw error;
    // The folder is removed, so the message names the file within it.
    const message = error.message.replaceAll(`${folder}/`, "");
    throw new StageFailure(
      isDenied
        ? `A file or folder in the output cannot be read or changed, perhaps because the task made it immutable: ${message}`
        : message,
      { cause: error },
    );
  }
  const empty = paths.find((path) => path.endsWith("/"));
  if (empty !== undefined) {
    throw new StageFailure(
      `The stage left the folder "${empty}" in its output empty, but only files are part of an artifact; the task must write a file in it or remove it`,
    );
  }
  const missing = stage.declaration.output.files
    .filter((path) => !paths.includes(path));
  if (missing.length > 0) {
    const names = missing.map((path) => `"${path}"`).join(", ");
    throw new StageFailure(
      `The stage did not write ${names}, which its task declares`,
      { code: "output-missing" },
    );
  }
  return paths;
}

/**
 * Creates the checkpoint folder of the next attempt at a key, whose lock must be
 * held. It is the folder of the last attempt under a new name, so that a process
 * of that attempt that is still ending cannot write to it.
 *
 * @param prints Fingerprints of the sources. If they differ from those of the
 * last attempt, its checkpoints are removed: it may have read other contents,
 * even if the key is the same again.
 */
function takeCheckpoint(key: string, prints: string, store: Store): string {
  const folder = store.makeFolder("checkpoints", key);
  const memo = join(folder, "sources.json");
  const sameSources = prints === (readSealed(memo)?.prints ?? "[]");
  const attempts = [...Deno.readDirSync(folder)]
    .map(({ name }) => Number(name)).filter(Number.isInteger)
    .sort((a, b) => b - a);
  const last = sameSources ? attempts[0] : undefined;
  const next = join(folder, String((attempts[0] ?? 0) + 1));
  for (const attempt of attempts) {
    if (attempt !== last) removeFolder(join(folder, String(attempt)));
  }
  if (!sameSources) writeSealed(memo, { prints });
  if (last === undefined) Deno.mkdirSync(next);
  else Deno.renameSync(join(folder, String(last)), next);
  return next;
}
