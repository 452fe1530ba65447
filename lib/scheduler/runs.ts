import { dirname, join } from "node:path";
import {
  entriesOf,
  readSealed,
  removeFolder,
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

/** Private folder of one attempt at a stage: `runs/...` in the cache. Removed on disposal. */
export interface RunFolder extends Disposable {
  readonly path: string;
  /** Contains {@linkcode ROUND} if the executor may start the job again, as does `temporary`. */
  readonly output: string;
  readonly inputs: string;
  readonly temporary: string;
  readonly spec: string;
  readonly log: string;
}

/**
 * Creates a run folder. It is locked until it is disposed of or this process ends.
 *
 * @param restarts True if the executor may start the job again.
 */
export function makeRunFolder(
  store: Store,
  pipeline: string,
  stage: string,
  key: string,
  restarts = false,
): RunFolder {
  const runs = store.makeFolder("runs");
  const name = `${temporarySuffix()}-${stage.replaceAll(/[^\w.-]+/g, "-")}`;
  const path = join(runs, name);
  // Renamed when it is locked and complete, so that no other process sweeps it.
  const unready = join(runs, `.${name}`);
  Deno.mkdirSync(unready);
  let lock: Lock | undefined;
  try {
    lock = tryLockFile(join(unready, "lock"))!;
    for (const part of restarts ? ["inputs"] : ["inputs", "output", "tmp"]) {
      Deno.mkdirSync(join(unready, part));
    }
    const started = new Date().toISOString();
    Deno.writeTextFileSync(
      join(unready, "run.json"),
      seal({ pipeline, stage, key, started, host: Deno.hostname() }),
    );
    Deno.renameSync(unready, path);
  } catch (error) {
    lock?.[Symbol.dispose]();
    removeFolder(unready);
    throw error;
  }
  const round = restarts ? `-${ROUND}` : "";
  return {
    path,
    output: join(path, `output${round}`),
    inputs: join(path, "inputs"),
    temporary: join(path, `tmp${round}`),
    spec: join(path, "spec.json"),
    log: join(path, "log.jsonl"),
    [Symbol.dispose]: () => {
      try {
        removeFolder(path);
      } catch (error) {
        // The stage made a file immutable, for instance; `sweepRuns()` tries again, and reports it.
        if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
      } finally {
        lock[Symbol.dispose]();
      }
    },
  };
}

/** Matches the names of run folders; others are not the scheduler's. */
const RUN_NAME = /^\.?\d+-[0-9a-f]{8}-\d+-/;

/** Milliseconds after which a folder counts as forgotten in which nothing was created, removed or logged: 14 days. */
const FORGOTTEN = 14 * 24 * 60 * 60 * 1000;

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
    if (!RUN_NAME.test(name)) continue;
    const path = join(runs, name);
    const run = readSealed(join(path, "run.json"));
    // Another process may be creating it, or its scheduler may live on another host, where its lock may not be seen.
    const isOwn = run === undefined
      ? !name.startsWith(".")
      : run.host === Deno.hostname();
    if (!isOwn && !isForgotten(path)) continue;
    try {
      using lock = tryLockFile(join(path, "lock"), { create: false });
      if (lock === undefined) continue;
      await executor.reap(path);
    } catch (error) {
      // Without a lock file, its removal has failed before.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    removeFolder(path);
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
    // Its scheduler locks it before it writes this file, and must find the lock free.
    if (run === undefined) return [];
    const log = join(folder, "log.jsonl");
    if (!isWritten(log)) return [];
    return [{
      pipeline: String(run.pipeline),
      stage: String(run.stage),
      key: String(run.key),
      started: String(run.started),
      holder: lockHolder(join(folder, "lock")),
      log,
    }];
  });
}

/** True while the run that writes this log is in progress: its scheduler holds the lock in the same folder. */
export function isWritten(log: string): boolean {
  return isLocked(join(dirname(log), "lock"));
}
