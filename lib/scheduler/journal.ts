/**
 * The journal of an attempt at a stage: the events of its process and of the
 * scheduler, in order, as JSON lines in the run folder. Everyone who follows the
 * stage reads it, and when the attempt ends, it is the log.
 */
import { ifThere, writeAll } from "../files/files.ts";
import { isLocked } from "../files/locks.ts";
import { fileSize, fingerprint } from "../files/fingerprints.ts";
import type { Store } from "../store/store.ts";
import type { Event } from "./events.ts";
import { isWritten, liveRuns } from "./runs.ts";

/** An event in a journal, with the seconds since its start. */
export type LogLine = Event & { readonly at: number };

/** Seconds between two reports of progress in a journal, since a stage may run for days. */
const PROGRESS_PAUSE = 10;

/** Writes a journal. */
interface Journal extends Disposable {
  write(event: Event): void;
  /** Writes an event, then passes it on. */
  readonly emit: (event: Event) => void;
}

/**
 * Creates a journal. Each event is written at once.
 *
 * @param pass Takes the events that are written by `emit()`.
 */
export function openJournal(
  path: string,
  pass: (event: Event) => void = () => {},
): Journal {
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
    emit(event) {
      write(event);
      pass(event);
    },
    [Symbol.dispose]: () => file.close(),
  };
}

/** The lines that a process appends to a file. */
export class Lines implements Disposable {
  readonly #path: string;
  /** Characters after which a line is split. */
  readonly #longest: number;
  /** Kept open, so that all of it can be read after it was moved or removed. */
  readonly #file: Deno.FsFile | undefined;
  readonly #decoder = new TextDecoder();
  #offset = 0;
  #rest = "";

  /**
   * @param options With `keep`, the file is opened now, and must exist.
   * Otherwise it is opened whenever it has grown, which makes a network file
   * system look for what other hosts have written.
   */
  constructor(
    path: string,
    { keep = false, longest = Infinity }: {
      readonly keep?: boolean;
      readonly longest?: number;
    } = {},
  ) {
    this.#path = path;
    this.#longest = longest;
    if (keep) this.#file = Deno.openSync(path);
  }

  /** Bytes of the file now. */
  get size(): number {
    return this.#file?.statSync().size ?? fileSize(this.#path);
  }

  /**
   * The whole lines that were added since the last call.
   *
   * @param end Bytes of the file before which they are.
   */
  *read(end = Infinity): Generator<string> {
    const size = Math.min(this.size, end);
    if (size <= this.#offset) return;
    const file = this.#file ?? Deno.openSync(this.#path);
    try {
      file.seekSync(this.#offset, Deno.SeekMode.Start);
      const buffer = new Uint8Array(Math.min(size - this.#offset, 1 << 20));
      while (this.#offset < size) {
        const part = buffer.subarray(0, size - this.#offset);
        const count = file.readSync(part);
        if (count === null) return;
        this.#offset += count;
        const text = this.#decoder.decode(part.subarray(0, count), {
          stream: true,
        });
        const lines = (this.#rest + text).split("\n");
        this.#rest = lines.pop()!;
        yield* lines;
        if (this.#rest.length > this.#longest) yield* this.rest();
      }
    } finally {
      if (this.#file === undefined) file.close();
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

/** Milliseconds between two reads of a journal that is followed. */
const FOLLOW_PAUSE = 100;

/**
 * Reads a journal.
 *
 * @param follow True to wait for further lines while the stage runs, also those
 * of further attempts after a failure.
 * @throws {Error} If it has been removed or is damaged.
 */
export async function* readLog(
  first: FoundLog,
  follow: boolean,
  { signal, findAgain, store }: Following = {},
): AsyncGenerator<LogLine> {
  const isOver = () => !follow || signal?.aborted === true;
  let next: FoundLog | undefined = first;
  /** Number of the attempt that was read last. */
  let attempt = 0;
  while (next !== undefined) {
    const { found, lines } = await openFound(next, findAgain);
    using _lines = lines;
    const shown = attempt;
    let isNew = shown === 0;
    let last: LogLine | undefined;
    for (let isWhole = false; !isWhole;) {
      isWhole = isOver() || found.from !== "live" || !isWritten(found.path);
      for (const text of lines.read()) {
        last = parseLine(text, found);
        if (last.type === "started") {
          isNew ||= last.attempt > shown;
          attempt = last.attempt;
        }
        if (isNew) yield last;
      }
      if (!isWhole) await pause();
    }
    const goesOn = isNew && last?.type === "failed" && last.retry;
    next = goesOn && store !== undefined && found.key !== undefined
      ? await nextAttempt(store, found.key, found.path, isOver) ??
        (isOver() ? undefined : await findAgain?.())
      : undefined;
  }
}

/**
 * The journal of the next attempt at a stage. A scheduler holds the lock of the
 * key during all attempts; undefined if none holds it any more.
 *
 * @param before Path of the journal of the attempt before.
 */
async function nextAttempt(
  store: Store,
  key: string,
  before: string,
  isOver: () => boolean,
): Promise<FoundLog | undefined> {
  while (!isOver()) {
    const isHeld = isLocked(store.path("locks", key));
    const run = liveRuns(store)
      .find((run) => run.key === key && run.log !== before);
    if (run === undefined && !isHeld) return undefined;
    if (run !== undefined && fingerprint(run.log) !== undefined) {
      return { from: "live", path: run.log, key };
    }
    await pause();
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, FOLLOW_PAUSE));
}

/** Opens a log. That of a run in progress may have been moved meanwhile: it is found again. */
async function openFound(
  found: FoundLog,
  findAgain: (() => Promise<FoundLog>) | undefined,
): Promise<{ found: FoundLog; lines: Lines }> {
  const lines = ifThere(() => new Lines(found.path, { keep: true }));
  if (lines !== undefined) return { found, lines };
  if (found.from === "live" && findAgain !== undefined) {
    return await openFound(await findAgain(), findAgain);
  }
  throw new Error(
    `The log "${found.path}" no longer exists; run the stage again`,
  );
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
