/**
 * The journal of the run of a stage: the events of its processes and of the
 * scheduler, in order, as JSON lines in the run folder. Everyone who follows
 * the stage reads it, and when the run ends, it is the log.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { writeAll } from "../files/files.ts";
import { fileSize } from "../files/fingerprints.ts";
import type { Event } from "./events.ts";
import { isWritten } from "./runs.ts";

/** An event in a journal, with the seconds since its start. */
export type LogLine = Event & { readonly at: number };

/**
 * Seconds between two reports of progress in a journal, since a stage may run
 * for days.
 */
const LOGGED_PROGRESS_PAUSE = 10;

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
      if (done < total && at < progress + LOGGED_PROGRESS_PAUSE) return;
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
   * @param options.keep True to open the file now, which must exist. Otherwise
   * it is opened whenever it has grown, which makes a network file system look
   * for what other hosts have written.
   * @param options.longest Characters after which a line is split.
   */
  constructor(
    readonly path: string,
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

/** Milliseconds between two reads of a journal that is followed. */
const FOLLOW_PAUSE = 100;

/**
 * Reads a journal.
 *
 * @param lines Its file, which is closed at the end.
 * @param follow True to wait for further lines while the stage runs.
 * @param signal Ends following.
 * @throws {Error} If it is damaged.
 */
export async function* readLog(
  lines: Lines,
  follow: boolean,
  signal?: AbortSignal,
): AsyncGenerator<LogLine> {
  using _file = lines;
  for (let isWhole = false; !isWhole;) {
    isWhole = !follow || signal?.aborted === true || !isWritten(lines.path);
    for (const line of lines.read()) yield parseLine(line, lines.path);
    if (!isWhole) await sleep(FOLLOW_PAUSE);
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
