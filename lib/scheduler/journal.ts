/**
 * The journal of an attempt at a stage: the events of its process and of the
 * scheduler, in order, as JSON lines in the run folder. Everyone who follows the
 * stage reads it, and when the attempt ends, it is the log.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { ifThere, writeAll } from "../files/files.ts";
import { fileSize } from "../files/fingerprints.ts";
import type { Event } from "./events.ts";
import { isWritten } from "./runs.ts";

/** An event in a journal, with the seconds since its start. */
export type LogLine = Event & { readonly at: number };

/** Seconds between two reports of progress in a journal, since a stage may run for days. */
const PROGRESS_PAUSE = 10;

/**
 * Creates a journal. Each event is written at once.
 *
 * @param pass Takes the events that are written by `emit()`.
 */
export function openJournal(
  path: string,
  pass: (event: Event) => void = () => {},
) {
  const file = Deno.openSync(path, { write: true, createNew: true });
  const start = performance.now();
  let progress = -Infinity;
  const write = (event: Event) => {
    const at = Math.round(performance.now() - start) / 1000;
    if (event.type === "progress") {
      const { done, total } = event;
      if (done < total && at < progress + PROGRESS_PAUSE) return;
      progress = at;
    }
    writeAll(file, JSON.stringify({ at, ...event }) + "\n");
  };
  return {
    write,
    /** Writes an event, then passes it on. */
    emit(event: Event) {
      write(event);
      pass(event);
    },
    [Symbol.dispose]: () => file.close(),
  };
}

/** The lines that a process appends to a file. */
export class Lines implements Disposable {
  readonly #longest: number;
  /** Kept open, so that all of it can be read after it was moved or removed. */
  readonly #file: Deno.FsFile | undefined;
  readonly #decoder = new TextDecoder();
  #offset = 0;
  #rest = "";

  /**
   * @param options.keep True to open the file now, which must exist. Otherwise it
   * is opened whenever it has grown, which makes a network file system look for
   * what other hosts have written.
   * @param options.longest Characters after which a line is split.
   */
  constructor(
    private readonly path: string,
    options: { readonly keep?: boolean; readonly longest?: number } = {},
  ) {
    this.#longest = options.longest ?? Infinity;
    if (options.keep) this.#file = Deno.openSync(path);
  }

  /** Bytes of the file now. */
  get size(): number {
    return this.#file?.statSync().size ?? fileSize(this.path);
  }

  /**
   * The whole lines that were added since the last call.
   *
   * @param end Bytes of the file before which they are.
   */
  *read(end = Infinity): Generator<string> {
    const size = Math.min(this.size, end);
    if (size <= this.#offset) return;
    using opened = this.#file ? undefined : Deno.openSync(this.path);
    const file = this.#file ?? opened!;
    file.seekSync(this.#offset, Deno.SeekMode.Start);
    const buffer = new Uint8Array(Math.min(size - this.#offset, 1 << 20));
    while (this.#offset < size) {
      const part = buffer.subarray(0, size - this.#offset);
      const count = file.readSync(part);
      if (count === null) return;
      this.#offset += count;
      const bytes = part.subarray(0, count);
      const text = this.#decoder.decode(bytes, { stream: true });
      const lines = (this.#rest + text).split("\n");
      this.#rest = lines.pop()!;
      yield* lines;
      if (this.#rest.length > this.#longest) yield* this.rest();
    }
  }

  /** What was read of the last line, which no line break has ended yet. */
  rest(): string[] {
    const rest = this.#rest + this.#decoder.decode();
    this.#rest = "";
    return rest === "" ? [] : [rest];
  }

  [Symbol.dispose](): void {
    this.#file?.close();
  }
}

/** A stage's log: of the run in progress, of the last run if that failed, or of a result. */
export interface FoundLog {
  readonly from: "live" | "failed" | "result";
  readonly path: string;
  /** Finds the log of the last run with the same key now: the run may have ended, and another attempt begun. */
  readonly again: () => Promise<FoundLog | undefined>;
}

/** Milliseconds between two reads of a journal that is followed. */
const FOLLOW_PAUSE = 100;

/** Milliseconds after the end of an attempt in which the next one begins, unless the scheduler is dead. */
const NEXT_ATTEMPT = 10_000;

/**
 * Reads a journal.
 *
 * @param follow True to wait for further lines while the stage runs, also those
 * of further attempts after a failure.
 * @param signal Ends following.
 * @throws {Error} If it has been removed or is damaged.
 */
export async function* readLog(
  first: FoundLog,
  follow: boolean,
  signal?: AbortSignal,
): AsyncGenerator<LogLine> {
  const isOver = () => !follow || signal?.aborted === true;
  /** Number of the attempt that was read last, and when it ended. */
  let attempt = 0;
  let ended = performance.now();
  for (let found = first;;) {
    const { from, path, again } = found;
    const gone = `The log "${path}" no longer exists; run the stage again`;
    using lines = ifThere(() => new Lines(path, { keep: true }));
    if (lines === undefined && from !== "live") throw new Error(gone);
    const shown = attempt;
    let isNew = shown === 0;
    let last: LogLine | undefined;
    for (let isWhole = lines === undefined; !isWhole;) {
      isWhole = isOver() || from !== "live" || !isWritten(path);
      for (const text of lines!.read()) {
        last = parseLine(text, path);
        if (last.type === "started") {
          isNew ||= last.attempt > shown;
          attempt = last.attempt;
        }
        if (isNew) yield last;
      }
      if (!isWhole) await sleep(FOLLOW_PAUSE);
    }
    if (isNew) ended = performance.now();
    if (lines !== undefined) {
      const goesOn = last === undefined || last.type === "failed" && last.retry;
      if (!goesOn || !follow) return;
      if (performance.now() > ended + NEXT_ATTEMPT) return;
    }
    await sleep(FOLLOW_PAUSE);
    if (signal?.aborted) return;
    const next = await again();
    if (next === undefined) throw new Error(gone);
    found = next;
  }
}

function parseLine(line: string, path: string): LogLine {
  try {
    return JSON.parse(line) as LogLine;
  } catch (error) {
    const message = `The log "${path}" is damaged; run the stage again`;
    throw new Error(message, { cause: error });
  }
}
