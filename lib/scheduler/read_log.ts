import { canonicalJson, isDigest } from "../store/digest.ts";
import { readSealed } from "../store/files.ts";
import { isLocked } from "../store/locks.ts";
import { basename, dirname, join } from "../store/paths.ts";
import { fingerprint } from "../store/stats.ts";
import type { Store } from "../store/store.ts";
import type { Spec } from "./child.ts";
import type { Event } from "./events.ts";
import { LeftJob } from "./executors/left_job.ts";
import type { LogLine } from "./logs.ts";
import { eventOf, readLine } from "./process.ts";
import { isWritten, liveRuns } from "./runs.ts";

/** A stage's log: of the run in progress, of the last run if that failed, or of a result. */
export interface FoundLog {
  readonly from: "live" | "failed" | "result";
  readonly path: string;
  /** Key of the stage, by which further attempts are found. */
  readonly key?: string;
}

/** What following a log may need. */
interface Following {
  /** Ends following. */
  readonly signal?: AbortSignal;
  /** Finds the log where it is, if its run has ended since it was found. */
  readonly findAgain?: () => Promise<FoundLog>;
  /** The cache, where further attempts at the stage are found. */
  readonly store?: Store;
}

/** Milliseconds between two reads of a log that is followed. */
const FOLLOW_PAUSE = 100;

/**
 * Reads a log. That of a job which no scheduler follows consists of what the
 * job has written.
 *
 * @param follow True to wait for further lines while the stage runs: also those
 * of a job that its scheduler leaves, and of further attempts after a failure.
 * @throws {Error} If the log has been removed or is damaged.
 */
export async function* readLog(
  first: FoundLog,
  follow: boolean,
  following: Following = {},
): AsyncGenerator<LogLine> {
  const { signal, findAgain, store } = following;
  const isOver = () => !follow || signal?.aborted === true;
  const seen = new Set<string | undefined>();
  const attempt = { number: 0 };
  let opened = await openFound(first, findAgain);
  for (;;) {
    const { found, file } = opened;
    seen.add(startOf(found));
    let goesOn: boolean;
    try {
      goesOn = yield* readRun(opened, isOver, attempt);
    } finally {
      file.close();
    }
    if (!goesOn || store === undefined || found.key === undefined) return;
    const next = await nextAttempt(store, found.key, seen, isOver);
    if (next === undefined) {
      if (findAgain !== undefined && !isOver()) {
        yield* lastAttempt(await findAgain(), attempt.number);
      }
      return;
    }
    opened = next;
  }
}

/**
 * Reads the log of the last attempt, which may have begun and ended between two
 * looks.
 *
 * @param shown Number of the attempt that was read last.
 */
async function* lastAttempt(
  found: FoundLog,
  shown: number,
): AsyncGenerator<LogLine> {
  let isNew = false;
  for await (const line of readLog(found, false)) {
    if (line.type === "started") isNew = line.attempt > shown;
    if (isNew) yield line;
  }
}

interface OpenLog {
  readonly found: FoundLog;
  readonly file: Deno.FsFile;
}

/**
 * Reads the log of one run. Returns true if another attempt may follow.
 *
 * @param attempt Gets the number of the attempt.
 */
async function* readRun(
  { found, file }: OpenLog,
  isOver: () => boolean,
  attempt: { number: number },
): AsyncGenerator<LogLine, boolean> {
  const hasScheduler = found.from === "live" && isWritten(found.path);
  const isLeft = found.from === "live" && !hasScheduler && isKept(found);
  const mayBeLeft = hasScheduler && isKept(found);
  const shown = new Map<string, number>();
  let last: LogLine | undefined;
  // A scheduler that takes up the job begins another log at this path.
  const hasEnded = () =>
    isOver() || !hasScheduler || !isWritten(found.path) ||
    fingerprint(found.path)?.inode !== file.statSync().ino;
  for await (const text of growingLines(file, hasEnded)) {
    const line = parseLine(text, found);
    last = line;
    if (line.type === "started") attempt.number = line.attempt;
    // Of the other events of a job, it is not known which were written before it was left.
    const isOfScheduler = line.type === "started" || line.type === "queued";
    if (isLeft && !isOfScheduler) continue;
    if (mayBeLeft) {
      const { at: _, ...event } = line;
      count(shown, canonicalJson(event));
    }
    yield line;
  }
  if (last?.type === "failed") return last.retry;
  if (last?.type === "interrupted" || !isLeft && isOver()) return false;
  if (found.from !== "live" || !isKept(found)) return false;
  return yield* readJob(found, shown, isOver);
}

/** True for the run of a job that may outlive its scheduler, until a scheduler has taken its result. */
function isKept(found: FoundLog): boolean {
  return isDigest(basename(dirname(found.path))) &&
    fingerprint(runFile(found, "run.json")) !== undefined;
}

/** When the run in the folder of a log started; undefined if there is none. */
function startOf(found: FoundLog): string | undefined {
  const run = readSealed(runFile(found, "run.json"));
  return run && String(run.started);
}

/**
 * Reads what a job has written that no scheduler follows. Returns true if a
 * scheduler has taken its result.
 *
 * @param shown How often each event was shown when a scheduler still followed it.
 */
async function* readJob(
  found: FoundLog,
  shown: Map<string, number>,
  isOver: () => boolean,
): AsyncGenerator<LogLine, boolean> {
  const run = readSealed(runFile(found, "run.json"));
  if (run === undefined) return true;
  const started = String(run.started);
  const isTaken = () => startOf(found) !== started;
  const isEnd = () => isOver() || isTaken();
  const { mark } = JSON.parse(
    await Deno.readTextFile(runFile(found, "spec.json")),
  ) as Spec;
  const stage = String(run.stage);
  const line = (event: Event): LogLine => (
    { at: (Date.now() - Date.parse(started)) / 1000, ...event }
  );
  const job = new LeftJob(dirname(found.path));
  let skipped = await lastShown(job, shown, stage, mark);
  for (let start = 0;;) {
    const output = job.output(start);
    if (output !== undefined) {
      const hasEnded = () => isEnd() || job.hasEnded(start);
      for await (const event of eventsIn(output, stage, mark, hasEnded)) {
        if (skipped > 0) skipped--;
        else yield line(event);
      }
      start++;
      continue;
    }
    if (isEnd()) return isTaken();
    const comes = isWritten(found.path) || await job.comes(start);
    if (comes !== true && job.output(start) === undefined) {
      if (comes !== false) {
        yield line({ type: "log", stage, line: comes, stream: "log" });
      }
      return isTaken();
    }
    await pause();
  }
}

/** Number of the events of a job up to the last one that was shown. */
async function lastShown(
  job: LeftJob,
  shown: Map<string, number>,
  stage: string,
  mark: string,
): Promise<number> {
  let number = 0;
  let last = 0;
  for (
    let start = 0, path = job.output(start);
    path !== undefined;
    path = job.output(++start)
  ) {
    for await (const event of eventsIn(path, stage, mark, () => true)) {
      number++;
      const text = canonicalJson(event);
      if ((shown.get(text) ?? 0) === 0) continue;
      count(shown, text, -1);
      last = number;
    }
  }
  return last;
}

function count(counts: Map<string, number>, text: string, more = 1): void {
  counts.set(text, (counts.get(text) ?? 0) + more);
}

/** The events in the standard output of a job's start. */
async function* eventsIn(
  path: string,
  stage: string,
  mark: string,
  hasEnded: () => boolean,
): AsyncGenerator<Event> {
  using file = await Deno.open(path);
  for await (const text of growingLines(file, hasEnded)) {
    for (const line of readLine(text, mark)) {
      const event: Event | undefined = line.type === "error"
        ? { type: "log", stage, line: line.message, stream: "log" }
        : eventOf(line, stage);
      if (event !== undefined) yield event;
    }
  }
}

/** Path of a file in the run folder that a log is in. */
function runFile({ path }: FoundLog, name: string): string {
  return join(dirname(path), name);
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, FOLLOW_PAUSE));
}

/** Whole lines of a file that grows until `hasEnded()`. */
async function* growingLines(
  file: Deno.FsFile,
  hasEnded: () => boolean,
): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(1 << 16);
  let rest = "";
  for (;;) {
    const ended = hasEnded();
    for (;;) {
      const size = await file.read(buffer);
      if (size === null) break;
      const lines = (rest + decoder.decode(buffer.subarray(0, size), {
        stream: true,
      })).split("\n");
      rest = lines.pop()!;
      yield* lines;
    }
    if (ended) return;
    await pause();
  }
}

/** Attempts to open the log of a run in progress, which may end before each. */
const ATTEMPTS = 3;

async function openFound(
  first: FoundLog,
  findAgain: (() => Promise<FoundLog>) | undefined,
): Promise<OpenLog> {
  let found = first;
  for (let attempt = 1;; attempt++) {
    try {
      return { found, file: await Deno.open(found.path) };
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      const { from, path } = found;
      if (from === "live" && findAgain !== undefined && attempt < ATTEMPTS) {
        found = await findAgain();
        continue;
      }
      throw new Error(
        from === "live"
          ? "The stage has just ended; request its log again"
          : `The log "${path}" no longer exists; run the stage again`,
        { cause: error },
      );
    }
  }
}

/**
 * Waits for another attempt at a stage, and opens its log. A scheduler holds
 * the lock of the key during all attempts; undefined if none holds it.
 *
 * @param seen When the runs started whose logs were read.
 */
async function nextAttempt(
  store: Store,
  key: string,
  seen: ReadonlySet<string | undefined>,
  isOver: () => boolean,
): Promise<OpenLog | undefined> {
  while (!isOver()) {
    const isHeld = isLocked(store.path("locks", key));
    const run = liveRuns(store).find((run) =>
      run.key === key && !seen.has(run.started)
    );
    if (run !== undefined) {
      const found: FoundLog = { from: "live", path: run.log, key };
      try {
        return { found, file: await Deno.open(run.log) };
      } catch (error) {
        // It has been created, but has no log yet, or has just ended.
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    } else if (!isHeld) return undefined;
    await pause();
  }
  return undefined;
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
