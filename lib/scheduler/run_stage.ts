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
import { attempt } from "./attempt.ts";
import { changes, describeChanges } from "./changes.ts";
import type { Context, Run } from "./context.ts";
import { type Failed, failed, type Made, type StageEnd } from "./ends.ts";
import type { Event } from "./events.ts";
import type { HeldGpus } from "./gpus.ts";
import { threadsOf } from "./key.ts";
import { claimOf, lockKey, lockMutex, type Slots, takeGpus } from "./limits.ts";
import { openJournal } from "./journal.ts";
import { decide, type Decided, type Missed } from "./plan.ts";
import { makeRunFolder } from "./runs.ts";
import { makeVisible, setModes } from "./visible.ts";

/**
 * Runs a stage whose result is not in the cache, and commits the result. The
 * lock of its key is held while the key is looked up again, the stage runs and
 * the result is committed, so only one of many processes runs it.
 *
 * @param results Results of its inputs, by stage.
 * @throws {BusyError} If another process holds what it needs and `Settings.wait` is false.
 */
export async function runStage(
  run: Run,
  stage: GraphStage,
  decided: Decided,
  results: ReadonlyMap<string, Manifest>,
  slots: Slots,
): Promise<StageEnd> {
  using _slot = await slots.take(claimOf(run, stage), run.waiting);
  using _key = await lockKey(run, stage, decided.key);
  const again = await decide(run, stage, results);
  if (again.key !== decided.key) {
    const moved = await changes(decided.parts, again.parts, run.store);
    return { state: "restart", message: describeChanges(moved) };
  }
  if ("manifest" in again) return { state: "reused", decided: again };
  using _mutex = await lockMutex(run, stage);
  using gpus = await takeGpus(run, stage);
  run.emit({ type: "decided", stage: stage.id, decision: again.decision });
  for (let number = 1;; number++) {
    const end = await runOnce(run, stage, again, results, gpus, number);
    const isLast = number > stage.retries || run.signal.aborted;
    if (end.state !== "failed" || isLast) return end;
  }
}

/**
 * Makes one attempt and commits its result.
 *
 * @param number Of the attempt, from 1.
 */
async function runOnce(
  run: Run,
  stage: GraphStage,
  decided: Missed,
  results: ReadonlyMap<string, Manifest>,
  gpus: HeldGpus | undefined,
  number: number,
): Promise<StageEnd> {
  const { store, graph: { pipeline } } = run;
  const { key, decision } = decided;
  using folder = makeRunFolder(store, pipeline, stage.id, key);
  using journal = openJournal(folder.log, run.emit);
  const { emit } = journal;
  emit({
    type: "started",
    stage: stage.id,
    attempt: number,
    reason: number > 1 ? "the last attempt failed" : decision.reason,
  });
  const attempted = await attempt({ ...run, emit }, stage, decided, folder, {
    results,
    gpus,
    checkpoint: (prints) => takeCheckpoint(key, prints, store),
  });
  const end = attempted.state === "done"
    ? await commit(run, stage, decided, attempted, folder.log)
    : attempted;
  if (end.state !== "failed" && end.state !== "interrupted") return end;
  const failures = store.makeFolder("failures", pipeline);
  const log = join(failures, `${stage.id}.jsonl`);
  const { state: type, message, ...more } = end;
  const event: Event = type === "interrupted"
    ? { type, stage: stage.id, ...more, log }
    : {
      type,
      stage: stage.id,
      attempt: number,
      message,
      log,
      retry: number <= stage.retries && !run.signal.aborted,
      ...more,
    };
  journal.write(event);
  Deno.renameSync(folder.log, log);
  await store.histories.failed(pipeline, stage.id, {
    key,
    message,
    ended: new Date().toISOString(),
    log,
    ...(type === "interrupted" && { interrupted: true }),
  });
  run.emit(event);
  return end;
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
  { key, parts }: Decided,
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
    ...await machineOf(run, stage),
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
  await makeVisible(run, stage.id, manifest, output);
  return { state: "done", manifest };
}

/** What computed a stage: the machines of its runtimes, and the threads that it was given. */
async function machineOf(
  { runtimes }: Context,
  { declaration: { needs }, resources }: GraphStage,
): Promise<Pick<Manifest, "machine">> {
  const found = await Promise.all(
    needs.map((name) => runtimes.get(name)?.machine?.()),
  );
  const names = found.filter((name) => name !== undefined);
  if (names.length === 0) return {};
  return { machine: [...names, threadsOf(resources)].join(", ") };
}

/** Paths of the files of an artifact. */
function artifactFiles(stage: GraphStage, folder: string): string[] | Failed {
  const { isSymlink, isFile } = Deno.lstatSync(folder);
  if (isSymlink || isFile) {
    return failed(
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
    return failed(
      isDenied
        ? `A file or folder in the output cannot be read or changed, perhaps because the task made it immutable: ${message}`
        : message,
    );
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
