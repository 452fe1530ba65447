import {
  entriesOf,
  readSealed,
  removeFolder,
  removeIfThere,
  seal,
  temporarySuffix,
} from "../files/files.ts";
import { isLocked, lockHolder, tryLockFile } from "../files/locks.ts";
import { basename, dirname, join } from "../files/paths.ts";
import { fingerprint } from "../files/fingerprints.ts";
import type { Store } from "../store/store.ts";
import type { Executor } from "./executors/executor.ts";

/**
 * Private folder of the run of a stage: `runs/...` in the cache. Removed on
 * disposal.
 */
export interface RunFolder extends Disposable {
  readonly path: string;
  /** Path of its journal. */
  readonly log: string;
  /**
   * Creates the folder of the next start (0, 1, ...) of the stage's process.
   */
  start(): StartFolder;
  /**
   * Removes the folders of all starts, which take the space that another
   * attempt needs.
   */
  clear(): void;
}

/** Private folder of one start of a stage's process: paths. */
export interface StartFolder {
  readonly path: string;
  /** The code that the process runs; see `run_task.ts` for its place. */
  readonly code: string;
  /** Input `name` has its artifacts in `inputs/name/0`, 1, ... */
  readonly inputs: string;
  readonly output: string;
  readonly temporary: string;
  readonly spec: string;
  /** Where the process appends its events. */
  readonly events: string;
  /** What it prints. */
  readonly stdout: string;
}

/**
 * Creates the folder of the run of a stage. It is locked until it is disposed
 * of or this process ends.
 */
export function makeRunFolder(
  store: Store,
  pipeline: string,
  stage: string,
  key: string,
): RunFolder {
  const name = `${temporarySuffix()}-${stage.replaceAll(/[^\w.-]+/g, "-")}`;
  const path = join(store.makeFolder("runs"), name);
  store.makeFolder("locks");
  // Before there is a folder that another process could sweep.
  const lock = tryLockFile(lockOf(path))!;
  using stack = new DisposableStack();
  stack.defer(() => {
    using _lock = lock;
    removeRun(path);
  });
  Deno.mkdirSync(path);
  const started = new Date().toISOString();
  Deno.writeTextFileSync(
    join(path, "run.json"),
    seal({ pipeline, stage, key, started, host: Deno.hostname() }),
  );
  const made = stack.move();
  let starts = 0;
  return {
    path,
    log: join(path, "log.jsonl"),
    start() {
      const start = join(path, String(starts));
      starts++;
      return makeStart(start);
    },
    clear() {
      for (let i = 0; i < starts; i++) removeFolder(join(path, String(i)));
    },
    [Symbol.dispose]: () => made.dispose(),
  };
}

/**
 * Lock of a run folder, held by its scheduler. It is outside, so it can be held
 * until the folder is gone.
 */
function lockOf(folder: string): string {
  const cache = dirname(dirname(folder));
  return join(cache, "locks", `run-${basename(folder)}`);
}

function removeRun(folder: string): void {
  removeFolder(folder);
  removeIfThere(lockOf(folder));
}

/** Creates the folder of a start, which only its owner can read. */
export function makeStart(path: string): StartFolder {
  const folder: StartFolder = {
    path,
    code: join(path, "node_modules", "stage.mjs"),
    inputs: join(path, "inputs"),
    output: join(path, "output"),
    temporary: join(path, "tmp"),
    spec: join(path, "spec.json"),
    events: join(path, "events.jsonl"),
    stdout: join(path, "stdout"),
  };
  Deno.mkdirSync(path, { mode: 0o700 });
  for (const part of [folder.inputs, folder.output, folder.temporary]) {
    Deno.mkdirSync(part);
  }
  // Rules for native code are about files that exist.
  for (const file of [folder.events, folder.stdout]) {
    Deno.writeTextFileSync(file, "");
  }
  return folder;
}

/** Matches the names of run folders; others are not the scheduler's. */
const RUN_NAME = /^\d+-[0-9a-f]{8}-\d+-/;

/**
 * Milliseconds after which a folder counts as forgotten in which nothing was
 * created, removed or logged: 14 days.
 */
const FORGOTTEN = 14 * 24 * 60 * 60 * 1000;

/**
 * Removes run folders whose scheduler died, and ends the remaining processes of
 * their stages. Those of other hosts are removed when they are 14 days old.
 */
export async function sweepRuns(
  store: Store,
  executor: Executor,
): Promise<void> {
  store.makeFolder("locks");
  for (const { name } of entriesOf(store.path("runs"))) {
    if (!RUN_NAME.test(name)) continue;
    const path = store.path("runs", name);
    const host = readSealed(join(path, "run.json"))?.host ?? Deno.hostname();
    // The locks of another host may not be seen here.
    if (host !== Deno.hostname() && !isForgotten(path)) continue;
    using lock = tryLockFile(lockOf(path));
    if (lock === undefined) continue;
    for (const { name, isDirectory } of entriesOf(path)) {
      if (isDirectory) await executor.reap(join(path, name));
    }
    removeRun(path);
  }
}

function isForgotten(path: string): boolean {
  const times = [path, join(path, "log.jsonl")]
    .map((it) => fingerprint(it)?.modified ?? 0);
  return Math.max(...times) < Date.now() - FORGOTTEN;
}

/** A stage that is running now, in this process or in another one. */
export interface LiveRun {
  readonly pipeline: string;
  /** Id of the stage. */
  readonly stage: string;
  readonly key: string;
  /** When it started: ISO 8601. */
  readonly started: string;
  /** Process that runs it: `process 1234`. */
  readonly holder: string;
  /** Path of its log. */
  readonly log: string;
}

/** All stages that are running now. */
export function liveRuns(store: Store): LiveRun[] {
  return entriesOf(store.path("runs")).flatMap(({ name }) => {
    const folder = store.path("runs", name);
    const run = readSealed(join(folder, "run.json"));
    const log = join(folder, "log.jsonl");
    if (run === undefined || !isWritten(log)) return [];
    return [{
      pipeline: String(run.pipeline),
      stage: String(run.stage),
      key: String(run.key),
      started: String(run.started),
      holder: lockHolder(lockOf(folder)),
      log,
    }];
  });
}

/** True while the run that writes this log is in progress. */
export function isWritten(log: string): boolean {
  return isLocked(lockOf(dirname(log)));
}
