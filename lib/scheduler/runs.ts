import { basename, dirname, join } from "node:path";
import { isDigest } from "../store/digest.ts";
import {
  ENOTEMPTY,
  entriesOf,
  osError,
  readSealed,
  removeFolder,
  renameIfThere,
  seal,
  temporarySuffix,
} from "../store/files.ts";
import {
  isLocked,
  type Lock,
  lockHolder,
  tryLockFile,
} from "../store/locks.ts";
import { fingerprint } from "../store/stats.ts";
import type { Store } from "../store/store.ts";
import { type Executor, ROUND } from "./executors/executor.ts";
import { LeftJob, lostJobs } from "./executors/left_job.ts";

/** Private folder of one attempt at a stage: `runs/...` in the cache. Removed on disposal. */
export interface RunFolder extends Disposable {
  readonly path: string;
  /** Contains {@linkcode ROUND} if the executor may start the job again, as does `temporary`. */
  readonly output: string;
  readonly inputs: string;
  /** For copies of sources; created if needed. */
  readonly sources: string;
  readonly temporary: string;
  readonly spec: string;
  readonly log: string;
  /** Files that must not change while the stage runs; see `freeze.ts`. */
  readonly frozen: string;
  /** True if an earlier scheduler left it with a job in it. */
  readonly left: boolean;
  /** True if schedulers on other hosts may use it at the same time. */
  readonly isShared: boolean;
  /**
   * True while a job is in it that outlives this process and is not known to
   * have ended. Disposal then only unlocks the folder, for a later run.
   */
  hasJob: boolean;
}

/**
 * Creates a run folder. It is locked until it is disposed of or this process ends.
 *
 * @param rounds True if the executor may start the job again.
 */
export function makeRunFolder(
  store: Store,
  pipeline: string,
  stage: string,
  key: string,
  rounds = false,
): RunFolder {
  const name = `${temporarySuffix()}-${stage.replaceAll(/[^\w.-]+/g, "-")}`;
  return newRunFolder(store, { pipeline, stage, key }, name, rounds)!;
}

/** Milliseconds that another host may take to create a run folder. */
const LONGEST_CREATION = 60_000;

/** Milliseconds between two checks of it. */
const CREATION_PAUSE = 500;

/**
 * Creates the run folder of a key, for a job that may outlive this process, or
 * takes the one that an earlier scheduler has left. Its name is the key, so of
 * any number of schedulers, on any hosts, only one creates it.
 *
 * @param signal Cancels waiting for another host, which may be creating it.
 */
export async function keptRunFolder(
  store: Store,
  pipeline: string,
  stage: string,
  key: string,
  mutex: string | undefined,
  signal: AbortSignal,
): Promise<RunFolder> {
  for (;;) {
    signal.throwIfAborted();
    const run = { pipeline, stage, key, ...(mutex !== undefined && { mutex }) };
    const made = newRunFolder(store, run, key, true);
    if (made !== undefined) return made;
    const path = store.path("runs", key);
    const lock = lockOf(path);
    if (typeof lock === "object") {
      const folder = runFolder(path, lock, true, true);
      if (fingerprint(folder.frozen) !== undefined) return folder;
      folder.hasJob = false;
      const touched = fingerprint(path)?.modified ?? 0;
      // Where locks work within one host only, its creator may live on another.
      const record = readSealed(join(path, "run.json"));
      if (
        record === undefined || record.host === Deno.hostname() ||
        touched < Date.now() - LONGEST_CREATION
      ) folder[Symbol.dispose]();
      else lock[Symbol.dispose]();
    } else if (lock === "missing" && isOld(path)) removeFolder(path);
    await new Promise((resolve) => setTimeout(resolve, CREATION_PAUSE));
  }
}

/** End of the name of a run folder in creation. */
const IN_CREATION = "-new";

/** Creates a locked run folder; undefined if there is one of this name. */
function newRunFolder(
  store: Store,
  run: Pick<LiveRun, "pipeline" | "stage" | "key"> & {
    readonly mutex?: string;
  },
  name: string,
  rounds: boolean,
): RunFolder | undefined {
  const runs = store.makeFolder("runs");
  const path = join(runs, name);
  if (fingerprint(path) !== undefined) return undefined;
  // Renamed when it is locked and complete, so that no other process sweeps it.
  const unready = join(runs, `.${temporarySuffix()}${IN_CREATION}`);
  Deno.mkdirSync(unready);
  let lock: Lock | undefined;
  try {
    lock = tryLockFile(join(unready, "lock"))!;
    for (const part of rounds ? ["inputs"] : ["inputs", "output", "tmp"]) {
      Deno.mkdirSync(join(unready, part));
    }
    const started = new Date().toISOString();
    Deno.writeTextFileSync(
      join(unready, "run.json"),
      seal({ ...run, started, host: Deno.hostname() }),
    );
    Deno.renameSync(unready, path);
  } catch (error) {
    try {
      removeFolder(unready);
    } finally {
      lock?.[Symbol.dispose]();
    }
    if (osError(error) === ENOTEMPTY) return undefined;
    throw error;
  }
  return runFolder(path, lock, false, rounds);
}

function runFolder(
  path: string,
  lock: Lock,
  left: boolean,
  rounds: boolean,
): RunFolder {
  const round = rounds ? `-${ROUND}` : "";
  const folder: RunFolder = {
    path,
    output: join(path, `output${round}`),
    inputs: join(path, "inputs"),
    sources: join(path, "sources"),
    temporary: join(path, `tmp${round}`),
    spec: join(path, "spec.json"),
    log: join(path, "log.jsonl"),
    frozen: join(path, "frozen.json"),
    left,
    isShared: isDigest(basename(path)),
    hasJob: left,
    [Symbol.dispose]: () => {
      try {
        if (!folder.hasJob) removeRun(path);
      } finally {
        lock[Symbol.dispose]();
      }
    },
  };
  return folder;
}

/** Removes a run folder. It is renamed first, so that an incomplete folder never has the name of a run. */
function removeRun(path: string): void {
  const gone = join(dirname(path), `.${temporarySuffix()}-gone`);
  try {
    if (renameIfThere(path, gone)) removeFolder(gone);
  } catch (error) {
    // The stage made a file immutable, for instance; `sweepRuns()` tries again, and reports it.
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
  }
}

/** Matches the names of run folders; others are not the scheduler's. */
const RUN_NAME = /^\.?\d+-[0-9a-f]{8}-\d+-/;

/**
 * Removes run folders whose scheduler died, and ends the remaining processes of
 * their stages. Those of other hosts are removed when they are 14 days old.
 */
export async function sweepRuns(
  store: Store,
  executor: Executor,
): Promise<void> {
  const runs = store.makeFolder("runs");
  for (const { name } of entriesOf(runs)) {
    if (!RUN_NAME.test(name) && !isDigest(name)) continue;
    const path = join(runs, name);
    // A job that outlived its scheduler belongs to the next run of its stage.
    if (isDigest(name) && !isForgotten(path)) continue;
    // Where locks work within one host only, its scheduler may live on another.
    if (isOfOtherHost(path) && !isForgotten(path)) continue;
    const lock = lockOf(path);
    if (lock === "missing") {
      // It is being created or removed, or a removal has failed.
      if (!name.endsWith(IN_CREATION) || isOld(path)) removeFolder(path);
    } else if (lock !== "held") {
      await executor.reap(path);
      removeFolder(path);
      lock[Symbol.dispose]();
    }
  }
}

/** True if another host has made a run folder, or may be making it. */
function isOfOtherHost(path: string): boolean {
  const run = readSealed(join(path, "run.json"));
  return run === undefined
    ? path.endsWith(IN_CREATION) && !isOld(path)
    : run.host !== Deno.hostname();
}

/** The lock of a run folder, taken if it is free. */
function lockOf(path: string): Lock | "held" | "missing" {
  try {
    return tryLockFile(join(path, "lock"), { create: false }) ?? "held";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "missing";
    throw error;
  }
}

/** True for a folder that is too old to be in creation. */
function isOld(path: string): boolean {
  return isUntouched(path, 60 * 60 * 1000);
}

/** True for the folder of a job that no run has taken up, or of another host that has not used it, for 14 days. */
function isForgotten(path: string): boolean {
  return isUntouched(path, 14 * 24 * 60 * 60 * 1000);
}

/** True for a folder in which nothing was created, removed or logged for so many milliseconds. */
function isUntouched(path: string, age: number): boolean {
  const modified = fingerprint(path)?.modified;
  const logged = fingerprint(join(path, "log.jsonl"))?.modified ?? 0;
  return modified !== undefined &&
    Math.max(modified, logged) < Date.now() - age;
}

/** A stage that is running now: in this process, in another one, or as a job that no run follows. */
export interface LiveRun {
  readonly pipeline: string;
  readonly stage: string;
  readonly key: string;
  /** When it started: ISO 8601. */
  readonly started: string;
  /** Process that runs it (`process 1234`), or a text for a job that no run follows. */
  readonly holder: string;
  /** True for a job that no run follows. */
  readonly isLeft: boolean;
  /** The run folder. */
  readonly folder: string;
  /** Path of its log. */
  readonly log: string;
  /** Set for a job that no run follows and that has ended: what becomes of it. */
  readonly ended?: string;
}

/**
 * All stages that are running now, and jobs that have ended since their run left
 * them.
 *
 * @param mutex Only those of stages with this mutex.
 */
export function liveRuns(store: Store, mutex?: string): LiveRun[] {
  return entriesOf(store.path("runs")).flatMap(({ name }) => {
    const folder = store.path("runs", name);
    const run = readSealed(join(folder, "run.json"));
    // Its scheduler locks it before it writes this file, and must find the lock free.
    if (run === undefined) return [];
    if (mutex !== undefined && run.mutex !== mutex) return [];
    const log = join(folder, "log.jsonl");
    const isFollowed = isWritten(log);
    // A job is submitted after the frozen files are noted.
    const hasJob = isDigest(name) &&
      fingerprint(join(folder, "frozen.json")) !== undefined;
    if (!isFollowed && !hasJob) return [];
    const ended = isFollowed ? undefined : new LeftJob(folder).end();
    return [{
      pipeline: String(run.pipeline),
      stage: String(run.stage),
      key: String(run.key),
      started: String(run.started),
      holder: isFollowed
        ? lockHolder(join(folder, "lock"))
        : "a job that no run follows",
      isLeft: !isFollowed,
      folder,
      log,
      ...(ended !== undefined && { ended }),
    }];
  });
}

/**
 * As {@linkcode liveRuns}, with the ends of jobs that left no files of it, which
 * Slurm tells: of those that were cancelled before they started, for instance.
 */
export async function liveRunsNow(store: Store): Promise<LiveRun[]> {
  const runs = liveRuns(store);
  const open = runs.filter((it) => it.isLeft && it.ended === undefined);
  if (open.length === 0) return runs;
  const lost = await lostJobs(open.map(({ folder }) => folder));
  return runs.map((run) => {
    const ended = run.ended ?? lost.get(run.folder);
    return { ...run, ...(ended !== undefined && { ended }) };
  });
}

/** True while the run that writes this log is in progress: its scheduler holds the lock in the same folder. */
export function isWritten(log: string): boolean {
  return isLocked(join(dirname(log), "lock"));
}
