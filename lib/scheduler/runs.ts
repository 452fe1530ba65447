import { basename, dirname, join } from "node:path";
import { isDigest } from "../store/digest.ts";
import {
  ENOTEMPTY,
  entriesOf,
  osError,
  readSealed,
  removeFolder,
  seal,
  temporarySuffix,
  writeAll,
} from "../store/files.ts";
import { type Lock, lockHolder, tryLockFile } from "../store/locks.ts";
import { fingerprint } from "../store/stats.ts";
import type { Store } from "../store/store.ts";
import type { Event } from "./events.ts";
import type { Executor } from "./executors/executor.ts";

/** Private folder of one attempt at a stage: `runs/...` in the cache. Removed on disposal. */
export interface RunFolder extends Disposable {
  readonly path: string;
  readonly output: string;
  readonly inputs: string;
  /** For copies of sources; created if needed. */
  readonly sources: string;
  readonly temporary: string;
  readonly spec: string;
  readonly log: string;
  /** What must not change while the stage runs; see `attempt.ts`. */
  readonly frozen: string;
  /** True if an earlier scheduler left it with a job in it. */
  readonly left: boolean;
  /** True if schedulers on other hosts may use it at the same time. */
  readonly isShared: boolean;
  /** Leaves the folder, with the job in it, to a later run: disposal only unlocks it. */
  leave(): void;
}

/** Creates a run folder. It is locked until it is disposed of or this process ends. */
export function makeRunFolder(
  store: Store,
  pipeline: string,
  stage: string,
): RunFolder {
  const name = `${temporarySuffix()}-${stage.replaceAll(/[^\w.-]+/g, "-")}`;
  return newRunFolder(store, pipeline, stage, name)!;
}

/** Milliseconds that a folder of another host may be in creation. */
const LONGEST_CREATION = 60_000;

/** Milliseconds between two looks at it. */
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
  signal: AbortSignal,
): Promise<RunFolder> {
  for (;;) {
    signal.throwIfAborted();
    const made = newRunFolder(store, pipeline, stage, key);
    if (made !== undefined) return made;
    const path = store.path("runs", key);
    const lock = lockOf(path);
    if (typeof lock === "object") {
      const folder = runFolder(path, lock, true);
      if (fingerprint(folder.frozen) !== undefined) return folder;
      const made = fingerprint(path)?.modified ?? 0;
      // Where locks work within one host only, its creator may live on another.
      const isForeign = readSealed(join(path, "run.json"));
      if (
        isForeign.state !== "whole" ||
        isForeign.value.host === Deno.hostname() ||
        made < Date.now() - LONGEST_CREATION
      ) folder[Symbol.dispose]();
      else lock[Symbol.dispose]();
    } else if (lock === "missing" && isOld(path)) removeFolder(path);
    await new Promise((resolve) => setTimeout(resolve, CREATION_PAUSE));
  }
}

/** Creates a locked run folder; undefined if there is one of this name. */
function newRunFolder(
  store: Store,
  pipeline: string,
  stage: string,
  name: string,
): RunFolder | undefined {
  const runs = store.makeFolder("runs");
  const path = join(runs, name);
  if (fingerprint(path) !== undefined) return undefined;
  // Renamed when it is locked and complete, so that no other process sweeps it.
  const unready = join(runs, `.${temporarySuffix()}-new`);
  Deno.mkdirSync(unready);
  let lock: Lock | undefined;
  try {
    lock = tryLockFile(join(unready, "lock"))!;
    for (const part of ["output", "inputs", "tmp"]) {
      Deno.mkdirSync(join(unready, part));
    }
    const started = new Date().toISOString();
    Deno.writeTextFileSync(
      join(unready, "run.json"),
      seal({ pipeline, stage, started, host: Deno.hostname() }),
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
  return runFolder(path, lock, false);
}

function runFolder(path: string, lock: Lock, left: boolean): RunFolder {
  let leaves = false;
  return {
    path,
    output: join(path, "output"),
    inputs: join(path, "inputs"),
    sources: join(path, "sources"),
    temporary: join(path, "tmp"),
    spec: join(path, "spec.json"),
    log: join(path, "log.jsonl"),
    frozen: join(path, "frozen.json"),
    left,
    isShared: isDigest(basename(path)),
    leave() {
      leaves = true;
    },
    [Symbol.dispose]: () => {
      try {
        if (!leaves) removeRun(path);
      } finally {
        lock[Symbol.dispose]();
      }
    },
  };
}

/** Removes a run folder. It has no name of a run any more as soon as it is incomplete. */
function removeRun(path: string): void {
  const gone = join(dirname(path), `.${temporarySuffix()}-gone`);
  try {
    Deno.renameSync(path, gone);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  removeFolder(gone);
}

/** Matches the names of run folders; others are not the scheduler's. */
const RUN_NAME = /^\.?\d+-[0-9a-f]{8}-\d+-/;

/** Removes run folders whose scheduler died, and ends the processes that are left of them. */
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
    const lock = lockOf(path);
    if (lock === "missing") {
      // It is being removed; or, if its name begins with a dot, possibly being created.
      if (!name.startsWith(".") || isOld(path)) removeFolder(path);
    } else if (lock !== "held") {
      await executor.reap(path);
      removeFolder(path);
      lock[Symbol.dispose]();
    }
  }
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

/** True for the folder of a job that no run has taken up in 14 days. */
function isForgotten(path: string): boolean {
  return isUntouched(path, 14 * 24 * 60 * 60 * 1000);
}

/** True for a folder in which nothing was created or removed for so many milliseconds. */
function isUntouched(path: string, age: number): boolean {
  const modified = fingerprint(path)?.modified;
  return modified !== undefined && modified < Date.now() - age;
}

/** A stage that is running now, in this process, another, or a job that a run has left. */
export interface LiveRun {
  readonly pipeline: string;
  readonly stage: string;
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
    const isFollowed = isWritten(log);
    if (run.state !== "whole" || !isFollowed && !isDigest(name)) return [];
    return [{
      pipeline: String(run.value.pipeline),
      stage: String(run.value.stage),
      started: String(run.value.started),
      holder: isFollowed
        ? lockHolder(join(folder, "lock"))
        : "a job that no run follows",
      log,
    }];
  });
}

/** True while the run that writes this log is in progress: its scheduler holds the lock in the same folder. */
function isWritten(log: string): boolean {
  const path = join(dirname(log), "lock");
  try {
    using lock = tryLockFile(path, { shared: true, create: false });
    return lock === undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Log of a run: its events as JSON lines. */
interface Log extends Disposable {
  write(event: Event): void;
  /** Writes what was held back. Called when the stage has ended. */
  end(): void;
}

/** An event in a log, with the seconds since the start of the log. */
export type LogLine = Event & { readonly at: number };

/** Seconds between two reports of progress in a log, since a stage may run for days. */
const PROGRESS_PAUSE = 10;

/** Characters of the start and of the end of a log that are kept. */
const LOG_HEAD = 8 << 20;
const LOG_TAIL = 1 << 20;

/**
 * Creates a log file. Each event is written at once, until the log is
 * {@linkcode LOG_HEAD} long. The last events after that are held in memory, and
 * written by `end()`; a line says how many are missing in between.
 */
export function openLog(path: string): Log {
  const file = Deno.openSync(path, { write: true, createNew: true });
  const start = performance.now();
  let progress = -Infinity;
  let size = 0;
  const tail = new LastEvents(LOG_TAIL);
  const now = () => Math.round(performance.now() - start) / 1000;
  return {
    write(event) {
      const at = now();
      if (event.type === "progress") {
        const { done, total } = event;
        if (done < total && at < progress + PROGRESS_PAUSE) return;
        progress = at;
      }
      const line = JSON.stringify({ at, ...event }) + "\n";
      size += line.length;
      if (size <= LOG_HEAD) writeAll(file, line);
      else tail.add(line);
    },
    end() {
      const { dropped, lines } = tail.take();
      if (dropped > 0) {
        const line =
          `... ${dropped} lines are left out here, since the log is too long ...`;
        const event = {
          at: now(),
          type: "log",
          stage: "",
          line,
          stream: "log",
        };
        writeAll(file, JSON.stringify(event) + "\n");
      }
      writeAll(file, lines);
    },
    [Symbol.dispose]: () => file.close(),
  };
}

/** The last lines of a long log. */
class LastEvents {
  readonly #most: number;
  #lines: string[] = [];
  /** Index of the first line that is still kept. */
  #first = 0;
  #size = 0;
  #dropped = 0;

  /** @param most Characters to keep. */
  constructor(most: number) {
    this.#most = most;
  }

  add(line: string): void {
    this.#lines.push(line);
    this.#size += line.length;
    while (this.#size > this.#most) {
      this.#size -= this.#lines[this.#first]!.length;
      this.#first++;
      this.#dropped++;
    }
    if (this.#first > this.#lines.length / 2) {
      this.#lines = this.#lines.slice(this.#first);
      this.#first = 0;
    }
  }

  /** Returns and forgets the lines, and the number of those that were dropped before. */
  take(): { readonly dropped: number; readonly lines: string } {
    const lines = this.#lines.slice(this.#first).join("");
    const dropped = this.#dropped;
    this.#lines = [];
    this.#first = this.#size = this.#dropped = 0;
    return { dropped, lines };
  }
}

/** A stage's log: of the run in progress, of the last run if that failed, or of a result. */
interface FoundLog {
  readonly from: "live" | "failed" | "result";
  readonly path: string;
}

/** Finds the log of a stage's last run; undefined if there is none. */
export function findLog(
  pipeline: string,
  stage: string,
  store: Store,
): FoundLog | undefined {
  const live = liveRuns(store).find((run) =>
    run.pipeline === pipeline && run.stage === stage
  );
  if (live !== undefined) return { from: "live", path: live.log };
  const { keys, failure } = store.histories.read(pipeline, stage);
  if (failure !== undefined) return { from: "failed", path: failure.log };
  for (const key of keys) {
    const found = store.manifests.read(key);
    if (found.state !== "found") continue;
    const path = store.blobs.path(found.manifest.log.blob);
    return { from: "result", path };
  }
  return undefined;
}

/** Milliseconds between two reads of a log that is followed. */
const FOLLOW_PAUSE = 100;

/**
 * Reads a log.
 *
 * @param follow True to wait for further lines until the run ends.
 * @param signal Ends following.
 * @throws {Error} If the log has been removed or is damaged.
 */
export async function* readLog(
  found: FoundLog,
  follow: boolean,
  signal?: AbortSignal,
): AsyncGenerator<LogLine> {
  using file = await openFound(found);
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(1 << 16);
  let rest = "";
  for (;;) {
    const ended = !follow || found.from !== "live" || !isWritten(found.path);
    for (;;) {
      const size = await file.read(buffer);
      if (size === null) break;
      const lines = (rest + decoder.decode(buffer.subarray(0, size), {
        stream: true,
      })).split("\n");
      rest = lines.pop()!;
      for (const line of lines) yield parseLine(line, found);
    }
    if (ended || signal?.aborted) return;
    await new Promise((resolve) => setTimeout(resolve, FOLLOW_PAUSE));
  }
}

async function openFound({ from, path }: FoundLog): Promise<Deno.FsFile> {
  try {
    return await Deno.open(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(
      from === "live"
        ? "The stage has just ended; request its log again"
        : `The log "${path}" no longer exists; run the stage again`,
      { cause: error },
    );
  }
}

function parseLine(line: string, { path }: FoundLog): LogLine {
  try {
    return JSON.parse(line) as LogLine;
  } catch (error) {
    throw new Error(`The log "${path}" is damaged; run the stage again`, {
      cause: error,
    });
  }
}
