import { join } from "node:path";
import type { GraphStage } from "../pipeline/graph.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import { digest } from "../files/digest.ts";
import {
  filesIn,
  listTree,
  NotAFileError,
  treeDigest,
} from "../store/blobs.ts";
import { readSealed, removeFolder, writeSealed } from "../files/files.ts";
import {
  type Manifest,
  MANIFEST_VERSION,
  type Measured,
} from "../store/manifests.ts";
import type { Store } from "../store/store.ts";
import { changes, describeChanges } from "./changes.ts";
import { type Context, readyRuntimes, type Run, taskOf } from "./context.ts";
import { type End, type Event, type Failed, failed } from "./events.ts";
import type { HeldGpus } from "./gpus.ts";
import { openJournal } from "./journal.ts";
import {
  sourceListing,
  sourcePrints,
  threadsOf,
  withAbsoluteSources,
} from "./key.ts";
import {
  claimOf,
  executorOf,
  lock,
  lockMutex,
  resourcesOf,
  type Slots,
  takeGpus,
} from "./limits.ts";
import { decide, type Decided, type Reused } from "./plan.ts";
import { runTask } from "./run_task.ts";
import { makeRunFolder, type RunFolder, type StartFolder } from "./runs.ts";
import { makeVisible, setModes, visibleFolder } from "./visible.ts";

/**
 * How an attempt ends. The stage is decided anew if what its key depends on has
 * changed.
 */
type AttemptEnd = End<Made>;

/** What an attempt has made: measurements, and the folder of the artifact. */
interface Made {
  readonly measured: Measured;
  readonly output: string;
}

/**
 * How the run of a stage ends; a failure or an interruption has been emitted.
 */
export type StageEnd =
  | End<{ readonly manifest: Manifest }>
  /**
   * The cache has its result, which another process may have made in the
   * meantime.
   */
  | { readonly state: "reused"; readonly decided: Reused };

/**
 * Runs a stage whose result is not in the cache, and commits the result. The
 * lock of its key is held while the key is looked up again, the stage runs, as
 * often as it may be tried, and the result is committed, so only one of many
 * processes runs it.
 *
 * @param results Results of its inputs, by stage.
 * @throws {BusyError} If another process holds what it needs and
 * `Settings.wait` is false.
 */
export async function runStage(
  run: Run,
  stage: GraphStage,
  decided: Decided,
  results: ReadonlyMap<string, Manifest>,
  slots: Slots,
): Promise<StageEnd> {
  using _slot = await slots.take(claimOf(run, stage), run.waiting);
  using _key = await lock(run, stage, decided.key, "runs the same stage");
  const again = await decide(run, stage, results);
  if (again.key !== decided.key) {
    const moved = await changes(
      decided.parts,
      again.parts,
      run.store,
      new Map([...decided.sources.listings, ...again.sources.listings]),
    );
    return { state: "restart", message: describeChanges(moved) };
  }
  if ("manifest" in again) return { state: "reused", decided: again };
  using _mutex = await lockMutex(run, stage);
  using gpus = await takeGpus(run, stage);
  // The stage that held the slot may have failed.
  run.waiting.throwIfAborted();
  const { id, retries } = stage;
  const { key, decision } = again;
  const { store, graph: { pipeline } } = run;
  run.emit({ type: "decided", stage: id, decision });
  using folder = makeRunFolder(store, pipeline, id, key);
  using journal = openJournal(folder.log, run.emit);
  const journaled = { ...run, emit: journal.emit };
  let { reason } = decision;
  for (let number = 1;; number++) {
    journaled.emit({ type: "started", stage: id, attempt: number, reason });
    const made = await attempt(journaled, stage, again, results, gpus, folder);
    const end = made.state === "done"
      ? await commit(run, stage, again, made, folder.log)
      : made;
    if (end.state !== "failed" && end.state !== "interrupted") return end;
    const retry = end.state === "failed" && number <= retries &&
      !run.signal.aborted;
    const log = join(store.makeFolder("failures", pipeline), `${id}.jsonl`);
    const { state, message, ...more } = end;
    const failure = { attempt: number, message, log, retry };
    const event: Event = state === "interrupted"
      ? { type: state, stage: id, ...more, log }
      : { type: state, stage: id, ...failure, ...more };
    journal.write(event);
    if (!retry) {
      await store.histories.ended(pipeline, id, {
        state,
        key,
        message,
        ended: new Date().toISOString(),
        log,
      });
      Deno.renameSync(folder.log, log);
    }
    run.emit(event);
    if (!retry) return end;
    reason = "the last attempt failed";
    folder.clear();
  }
}

/** Maximum number of times in a row that a process does not start. */
const MAX_STARTS = 3;

/**
 * Runs a stage's process: the bundle that is in its key, on its inputs and
 * sources. It is started again whenever a batch system ends it for reasons of
 * its own. The process of an earlier start may still live on a node that was
 * lost, so each start has a folder of its own.
 *
 * @param checkpoint Folder for checkpoints; by default, the one of the key,
 * which only one attempt may use.
 */
export async function attempt(
  run: Run,
  stage: GraphStage,
  decided: Decided,
  results: ReadonlyMap<string, Manifest>,
  gpus: HeldGpus | undefined,
  folder: RunFolder,
  checkpoint?: string,
): Promise<AttemptEnd> {
  const { emit, settings, signal } = run;
  const { permissions = {} } = await taskOf(stage);
  const sources = decided.sources.paths;
  let left: number | undefined;
  let unstarted = 0;
  for (;;) {
    const start = folder.start();
    const runtimes = await readyRuntimes(run, stage);
    const inputs = await layOut(run, stage, decided, results, start);
    const before = sourcePrints(sources);
    const changed = await changedSource(run, decided, before);
    if (changed !== undefined) return changed;
    const resumed = checkpoint === undefined
      ? takeCheckpoint(decided.key, before, run.store)
      : undefined;
    const began = performance.now();
    const end = await runTask({
      stage: stage.id,
      task: stage.task,
      module: stage.module,
      project: settings.project,
      permissions,
      params: withAbsoluteSources(stage.params, sources),
      inputs,
      sources: [...sources.values()],
      folder: start,
      checkpoint: checkpoint ?? resumed!.folder,
      runtimes,
      resources: resourcesOf(run, stage),
      gpus: gpus?.ids,
      executor: executorOf(run, stage),
      left,
      grace: settings.grace,
      lastingPaths: lastingPaths(run, stage, start),
      emit(event) {
        if (event.type === "saved") {
          resumed?.noteSeconds((performance.now() - began) / 1000);
        }
        emit(event);
      },
      signal,
    });
    switch (end.state) {
      case "done": {
        const seconds = end.measured.seconds + (resumed?.seconds ?? 0);
        const measured = { ...end.measured, seconds: milliseconds(seconds) };
        return await changedSource(run, decided, before) ??
          { ...end, measured, output: start.output };
      }
      case "failed":
      case "interrupted":
        return end;
      case "restart": {
        unstarted = end.hasStarted ? 0 : unstarted + 1;
        if (unstarted === MAX_STARTS) return failed(end.message);
        left = end.left;
        const line = end.message;
        emit({ type: "log", stage: stage.id, line, stream: "log" });
      }
    }
  }
}

/**
 * Lays out the code and the inputs of a stage in its run folder, as read-only
 * hard links to blobs. Of the inputs' parts in the key, the task sees all but
 * the digest.
 */
async function layOut(
  { store }: Context,
  stage: GraphStage,
  { parts }: Decided,
  results: ReadonlyMap<string, Manifest>,
  folder: StartFolder,
): Promise<Record<string, InputArtifact[]>> {
  await store.blobs.linkTo(parts.code, folder.code);
  const inputs: Record<string, InputArtifact[]> = {};
  for (const [name, ids] of Object.entries(stage.inputs)) {
    inputs[name] = [];
    for (const [i, id] of ids.entries()) {
      const path = join(folder.inputs, name, String(i));
      Deno.mkdirSync(path, { recursive: true });
      for (const { blob, path: file } of results.get(id)!.files) {
        await store.blobs.linkTo(blob, join(path, file));
      }
      const { content: _, ...seen } = parts.inputs[name]![i]!;
      inputs[name].push({ stage: name, matrix: {}, ...seen, path });
    }
  }
  return inputs;
}

/**
 * Compares sources with those of the key: their fingerprints, and the content
 * of files that were changed in the tick in which they were read. Undefined if
 * none has changed, not even back again.
 */
async function changedSource(
  { store }: Context,
  { sources: { paths: sources, digests } }: Decided,
  before: string,
): Promise<AttemptEnd | undefined> {
  for (const [name, path] of sources) {
    if (await digest(await sourceListing(path, store)) !== digests[name]) {
      return { state: "restart", message: `source "${path}" changed` };
    }
  }
  if (sourcePrints(sources) === before) return undefined;
  const paths = [...sources.values()].map((it) => `"${it}"`);
  return { state: "restart", message: `${paths.join(" or ")} changed` };
}

/**
 * Replaces paths in the run folder, which is removed after the run: those of
 * inputs by the visible folders of the stages that they come from, others by
 * paths relative to the run folder.
 */
function lastingPaths(
  { settings: { out }, graph: { pipeline } }: Context,
  stage: GraphStage,
  folder: StartFolder,
): (text: string) => string {
  const lasting = (path: string) =>
    path.replace(/^inputs\/([^/]+)\/(\d+)/, (all, name, i) => {
      const id = stage.inputs[name]?.[i];
      return id === undefined ? all : visibleFolder(out, pipeline, id);
    });
  return (text) => {
    const [head, ...paths] = text.split(`${folder.path}/`);
    return head + paths.map(lasting).join("");
  };
}

/**
 * Commits a stage's artifact to the cache and makes it visible. Blobs are
 * written before the manifest, so the result is found complete or not at all.
 * It fails if a declared file is missing, or the artifact contains something
 * other than files.
 */
async function commit(
  run: Run,
  stage: GraphStage,
  { key, parts, sources }: Decided,
  { output, measured }: Made,
  log: string,
): Promise<StageEnd> {
  const { graph: { pipeline }, settings, store } = run;
  const paths = artifactFiles(stage, output);
  if ("state" in paths) return paths;
  const stored = await store.blobs.putAll([
    ...paths.map((path) => join(output, path)),
    log,
  ]);
  const files = paths.map((path, i) => ({ path, ...stored[i]! }));
  // So that a later difference can be explained file by file.
  for (const listing of sources.listings.values()) {
    if (filesIn(listing).size > 1) await store.blobs.putText(listing);
  }
  const manifest: Manifest = {
    version: MANIFEST_VERSION,
    key,
    parts,
    task: stage.task,
    pipeline,
    stage: stage.id,
    runtime: `deno ${Deno.version.deno}`,
    ...measured,
    ...await machineOf(run, stage),
    content: await treeDigest(files),
    files,
    log: stored.at(-1)!,
  };
  store.manifests.write(manifest);
  settings.remote?.offer(manifest);
  removeFolder(store.path("checkpoints", key));
  // Noted first: what is visible later is then known as written by the stage.
  await store.noteResult(pipeline, stage.id, key);
  await makeVisible(run, stage.id, manifest, output);
  return { state: "done", manifest };
}

/**
 * What computed a stage: the machines of its runtimes, and the threads that it
 * was given.
 */
async function machineOf(
  { runtimes }: Context,
  { declaration: { needs }, resources }: GraphStage,
): Promise<Pick<Manifest, "machine">> {
  const machines = await Promise.all(
    needs.map((name) => runtimes.get(name)?.machine?.()),
  );
  const names = machines.filter((name) => name !== undefined);
  const machine = [...names, threadsOf(resources)].join(", ");
  return names.length === 0 ? {} : { machine };
}

/** Paths of the files of an artifact. */
function artifactFiles(stage: GraphStage, folder: string): string[] | Failed {
  const { isDirectory, isFile } = Deno.lstatSync(folder);
  if (!isDirectory) {
    const what = isFile ? "file" : "symbolic link";
    return failed(
      `The stage replaced its output folder by a ${what}; the task must write its files into the folder`,
    );
  }
  let paths: string[];
  try {
    paths = listTree(folder, "refuse");
    setModes(folder);
  } catch (error) {
    if (!(error instanceof NotAFileError)) throw error;
    // The folder is removed, so the message names the file within it.
    return failed(error.message.replaceAll(`${folder}/`, ""));
  }
  const empty = paths.find((path) => path.endsWith("/"));
  if (empty !== undefined) {
    return failed(
      `The stage left the folder "${empty}" in its output empty, but only files are part of an artifact; the task must write a file in it or remove it`,
    );
  }
  const missing = stage.declaration.output.files
    .filter((path) => !paths.includes(path));
  if (missing.length > 0) {
    const names = missing.map((path) => `"${path}"`).join(", ");
    return failed(
      `The stage did not write ${names}, which its task declares`,
      "output-missing",
    );
  }
  return paths;
}

/** Seconds to the millisecond. */
function milliseconds(seconds: number): number {
  return Math.round(seconds * 1000) / 1000;
}

/** Checkpoints of an attempt. */
interface Checkpoint {
  readonly folder: string;
  /** Seconds of the attempts that it resumes, up to their last checkpoints. */
  readonly seconds: number;
  /** Notes the seconds of this attempt up to a checkpoint, for the next one. */
  noteSeconds(seconds: number): void;
}

/**
 * Creates the checkpoint folder of the next attempt at a key, whose lock must
 * be held. It is the folder of the last attempt under a new name, so that a
 * process of that attempt that is still ending cannot write to it.
 *
 * @param prints Fingerprints of the sources. If they differ from those of the
 * last attempt, its checkpoints are removed: it may have read other contents,
 * even if the key is the same again.
 */
function takeCheckpoint(
  key: string,
  prints: string,
  store: Store,
): Checkpoint {
  const folder = store.makeFolder("checkpoints", key);
  const memo = join(folder, "attempts.json");
  const attempted = readSealed<AttemptMemo>(memo) ??
    { prints: "[]", seconds: 0 };
  const sameSources = prints === attempted.prints;
  const attempts = [...Deno.readDirSync(folder)]
    .map(({ name }) => Number(name)).filter(Number.isInteger);
  const number = Math.max(0, ...attempts);
  const next = join(folder, `${number + 1}`);
  if (!sameSources) {
    for (const attempt of attempts) removeFolder(join(folder, `${attempt}`));
    writeSealed(memo, { prints, seconds: 0 });
  }
  if (sameSources && number > 0) {
    Deno.renameSync(join(folder, `${number}`), next);
  } else {
    Deno.mkdirSync(next);
  }
  const earlier = sameSources ? attempted.seconds : 0;
  return {
    folder: next,
    seconds: earlier,
    noteSeconds: (seconds) =>
      writeSealed(memo, { prints, seconds: earlier + seconds }),
  };
}

/** What is kept of the attempts at a key beside their checkpoints. */
interface AttemptMemo {
  /** Fingerprints of their sources. */
  readonly prints: string;
  /** Their seconds, up to their last checkpoints. */
  readonly seconds: number;
}
