import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { entriesOf } from "../store/cleanup.ts";
import { readSealed, seal, temporarySuffix } from "../store/files.ts";
import { type Lock, lockHolder, tryLockFile } from "../store/locks.ts";
import { fingerprint } from "../store/stats.ts";
import type { Store } from "../store/store.ts";
import type { Event } from "./events.ts";
import type { Executor } from "./executors/executor.ts";
import { removeFolder } from "./visible.ts";

/** The private folder of one attempt at a stage: `runs/...`, removed when it ends. */
export interface RunFolder extends Disposable {
  readonly path: string;
  readonly output: string;
  readonly inputs: string;
  readonly temporary: string;
  readonly spec: string;
  readonly log: string;
}

/** Makes a run folder. Its lock is held as long as this process lives. */
export function makeRunFolder(
  store: Store,
  pipeline: string,
  stage: string,
): RunFolder {
  const runs = store.makeFolder("runs");
  const name = `${temporarySuffix()}-${stage.replaceAll(/[^\w.-]+/g, "-")}`;
  const path = join(runs, name);
  // It gets its name when it is locked, so that nobody takes it for a dead one.
  const unready = join(runs, `.${name}`);
  Deno.mkdirSync(unready);
  const lock = tryLockFile(join(unready, "lock"))!;
  const dispose = () => {
    removeFolder(unready);
    removeFolder(path);
    lock[Symbol.dispose]();
  };
  try {
    for (const part of ["output", "inputs", "tmp"]) {
      Deno.mkdirSync(join(unready, part));
    }
    announce(unready, pipeline, stage);
    Deno.renameSync(unready, path);
  } catch (error) {
    dispose();
    throw error;
  }
  return {
    path,
    output: join(path, "output"),
    inputs: join(path, "inputs"),
    temporary: join(path, "tmp"),
    spec: join(path, "spec.json"),
    log: join(path, "log.jsonl"),
    [Symbol.dispose]: dispose,
  };
}

/** Removes the folders of runs whose scheduler died, and ends what is left of them. */
export async function sweepRuns(
  store: Store,
  executor: Executor,
): Promise<void> {
  const runs = store.makeFolder("runs");
  for (const { name } of [...Deno.readDirSync(runs)]) {
    const path = join(runs, name);
    const lock = lockOf(path);
    if (lock === "missing") {
      // It is being removed; or, without its name yet, it may be in the making.
      if (!name.startsWith(".") || isOld(path)) removeFolder(path);
    } else if (lock !== "held") {
      await executor.reap(path);
      removeFolder(path);
      lock[Symbol.dispose]();
    }
  }
}

/** The lock of a run folder, taken if nobody holds it. */
function lockOf(path: string): Lock | "held" | "missing" {
  try {
    return tryLockFile(join(path, "lock"), { create: false }) ?? "held";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "missing";
    throw error;
  }
}

/** True for a folder that was never made ready, and cannot be in the making. */
function isOld(path: string): boolean {
  const made = fingerprint(path)?.modified;
  return made !== undefined && made < Date.now() - 60 * 60 * 1000;
}

/** A stage that is running now, in this or another process. */
export interface LiveRun {
  readonly pipeline: string;
  readonly stage: string;
  /** When it began: ISO 8601. */
  readonly started: string;
  /** Who runs it: `process 1234`. */
  readonly holder: string;
  /** File that its log is written to. */
  readonly log: string;
}

/** Says in a run folder what runs there. */
function announce(
  folder: string,
  pipeline: string,
  stage: string,
): void {
  const started = new Date().toISOString();
  // Nobody sees the folder before it is complete, nor after the machine has gone down.
  Deno.writeTextFileSync(
    join(folder, "run.json"),
    seal({ pipeline, stage, started }),
  );
}

/** All stages that are running now. */
export function liveRuns(store: Store): LiveRun[] {
  return entriesOf(store.path("runs")).flatMap(({ name }) => {
    const folder = store.path("runs", name);
    const run = readSealed(join(folder, "run.json"));
    const log = join(folder, "log.jsonl");
    if (run.state !== "whole" || !isWritten(log)) return [];
    return [{
      pipeline: String(run.value.pipeline),
      stage: String(run.value.stage),
      started: String(run.value.started),
      holder: lockHolder(join(folder, "lock")),
      log,
    }];
  });
}

/** True while the run goes on that writes this log: its scheduler holds a lock beside it, however it dies. */
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

/** The log of a stage's run: its events as JSON lines, each with the seconds since the start. */
interface Log extends Disposable {
  write(event: Event): void;
}

/** Seconds between two reports of progress in a log; a stage may run for days. */
const PROGRESS_PAUSE = 10;

/** Begins a log file. Every line is in the file as soon as it is written. */
export function openLog(path: string): Log {
  const file = Deno.openSync(path, { write: true, createNew: true });
  const start = performance.now();
  const encoder = new TextEncoder();
  let progress = -Infinity;
  return {
    write(event) {
      const at = Math.round(performance.now() - start) / 1000;
      if (event.type === "progress") {
        const { done, total } = event;
        if (done < total && at < progress + PROGRESS_PAUSE) return;
        progress = at;
      }
      const bytes = encoder.encode(JSON.stringify({ at, ...event }) + "\n");
      for (let done = 0; done < bytes.length;) {
        done += file.writeSync(bytes.subarray(done));
      }
    },
    [Symbol.dispose]: () => file.close(),
  };
}

/** An event of a stage's run, and the seconds since its start. */
export type LogLine = Event & { readonly at: number };

/** Milliseconds between two looks at a log that is followed. */
const PAUSE = 100;

/** Where a stage's log is found: of the run that goes on, else of the last. */
interface FoundLog {
  readonly from: "live" | "failed" | "result";
  readonly path: string;
}

/** Finds the log of a stage's last run; undefined if it never ran. */
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
    if (found.state === "found") {
      return {
        from: "result",
        path: store.blobs.path(found.manifest.log.blob),
      };
    }
  }
  return undefined;
}

/**
 * The lines of a log. With `follow`, lines that are still being written are
 * waited for, until the run ends.
 *
 * @throws {Error} If the log is no longer there, or damaged.
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
    await sleep(PAUSE);
  }
}

async function openFound({ from, path }: FoundLog): Promise<Deno.FsFile> {
  try {
    return await Deno.open(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(
      from === "live"
        ? "The stage has just ended; ask again for its log"
        : `The log "${path}" is gone; run the stage again to have one`,
      { cause: error },
    );
  }
}

function parseLine(line: string, { path }: FoundLog): LogLine {
  try {
    return JSON.parse(line) as LogLine;
  } catch (error) {
    throw new Error(
      `The log "${path}" is damaged: run the stage again to have one`,
      { cause: error },
    );
  }
}
