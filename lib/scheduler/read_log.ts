import { isLocked } from "../store/locks.ts";
import type { Store } from "../store/store.ts";
import type { LogLine } from "./logs.ts";
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
 * Reads a log.
 *
 * @param follow True to wait for further lines while the stage runs, also those
 * of further attempts after a failure.
 * @throws {Error} If the log has been removed or is damaged.
 */
export async function* readLog(
  first: FoundLog,
  follow: boolean,
  following: Following = {},
): AsyncGenerator<LogLine> {
  const { signal, findAgain, store } = following;
  const isOver = () => !follow || signal?.aborted === true;
  const seen = new Set<string>();
  const attempt = { number: 0 };
  let opened = await openFound(first, findAgain);
  for (;;) {
    const { found, file } = opened;
    seen.add(found.path);
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
 * Reads the log of one run. Returns true if another attempt follows.
 *
 * @param attempt Gets the number of the attempt.
 */
async function* readRun(
  { found, file }: OpenLog,
  isOver: () => boolean,
  attempt: { number: number },
): AsyncGenerator<LogLine, boolean> {
  const isLive = found.from === "live";
  const hasEnded = () => isOver() || !isLive || !isWritten(found.path);
  let last: LogLine | undefined;
  for await (const text of growingLines(file, hasEnded)) {
    last = parseLine(text, found);
    if (last.type === "started") attempt.number = last.attempt;
    yield last;
  }
  return last?.type === "failed" && last.retry;
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
 * @param seen Paths of the logs that were read.
 */
async function nextAttempt(
  store: Store,
  key: string,
  seen: ReadonlySet<string>,
  isOver: () => boolean,
): Promise<OpenLog | undefined> {
  while (!isOver()) {
    const isHeld = isLocked(store.path("locks", key));
    const run = liveRuns(store).find((run) =>
      run.key === key && !seen.has(run.log)
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
