import { readSealed, writeAll } from "../store/files.ts";
import { isDigest } from "../store/digest.ts";
import { basename, dirname, join } from "../store/paths.ts";
import { fingerprint } from "../store/stats.ts";
import type { Spec } from "./child.ts";
import type { Event } from "./events.ts";
import { eventOf, readLine } from "./process.ts";
import { isWritten } from "./runs.ts";

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
export interface FoundLog {
  readonly from: "live" | "failed" | "result";
  readonly path: string;
}

/** Milliseconds between two reads of a log that is followed. */
const FOLLOW_PAUSE = 100;

/**
 * Reads a log. That of a job which no scheduler follows consists of what the
 * job has written.
 *
 * @param follow True to wait for further lines until the run ends.
 * @param signal Ends following.
 * @param findAgain Finds the log where it is, if its run has ended since it was found.
 * @throws {Error} If the log has been removed or is damaged.
 */
export async function* readLog(
  first: FoundLog,
  follow: boolean,
  signal?: AbortSignal,
  findAgain?: () => Promise<FoundLog>,
): AsyncGenerator<LogLine> {
  const { found, opened } = await openFound(first, findAgain);
  using file = opened;
  const isOver = () => !follow || signal?.aborted === true;
  const isLive = () => found.from === "live" && isWritten(found.path);
  const isLeft = found.from === "live" && !isLive() && isKept(found);
  let isQueued = false;
  for await (const text of growingLines(file, () => isOver() || !isLive())) {
    const line = parseLine(text, found);
    if (line.type === "queued") isQueued = true;
    // Of the other events of a job, it is not known which were written before it was left.
    const isOfScheduler = line.type === "started" || line.type === "queued";
    if (!isLeft || isOfScheduler) yield line;
  }
  if (isLeft) {
    const starts = jobFile(found, "stdout-0");
    while (isQueued && !exists(starts) && isKept(found) && !isOver()) {
      await pause();
    }
    yield* readJob(found, isOver);
  }
}

/** True for the run of a job that may outlive its scheduler, until a scheduler has taken its result. */
function isKept(found: FoundLog): boolean {
  return isDigest(basename(dirname(found.path))) &&
    exists(jobFile(found, "run.json"));
}

/** Reads what a job has written that no scheduler follows; see `Executor.outlives`. */
async function* readJob(
  found: FoundLog,
  isOver: () => boolean,
): AsyncGenerator<LogLine> {
  const run = readSealed(jobFile(found, "run.json"));
  if (run.state !== "whole") return;
  const { mark } = JSON.parse(
    await Deno.readTextFile(jobFile(found, "spec.json")),
  ) as Spec;
  const stage = String(run.value.stage);
  const start = Date.parse(String(run.value.started));
  for (let round = 0;; round++) {
    const path = jobFile(found, `stdout-${round}`);
    if (!exists(path)) return;
    using file = await Deno.open(path);
    const hasEnded = () =>
      isOver() || !exists(path) || exists(jobFile(found, `end-${round}`));
    for await (const text of growingLines(file, hasEnded)) {
      for (const line of readLine(text, mark)) {
        const event: Event | undefined = line.type === "error"
          ? { type: "log", stage, line: line.message, stream: "log" }
          : eventOf(line, stage);
        const at = (Date.now() - start) / 1000;
        if (event !== undefined) yield { at, ...event };
      }
    }
  }
}

/** Path of a file in the run folder that a log is in. */
function jobFile({ path }: FoundLog, name: string): string {
  return join(dirname(path), name);
}

function exists(path: string): boolean {
  return fingerprint(path) !== undefined;
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
): Promise<{ readonly found: FoundLog; readonly opened: Deno.FsFile }> {
  let found = first;
  for (let attempt = 1;; attempt++) {
    try {
      return { found, opened: await Deno.open(found.path) };
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

function parseLine(line: string, { path }: FoundLog): LogLine {
  try {
    return JSON.parse(line) as LogLine;
  } catch (error) {
    throw new Error(`The log "${path}" is damaged; run the stage again`, {
      cause: error,
    });
  }
}
