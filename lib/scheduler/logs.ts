import { writeAll } from "../store/files.ts";
import type { Event } from "./events.ts";

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
  const tail = new LastEvents();
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

/** The last lines of a long log, up to {@linkcode LOG_TAIL}. */
class LastEvents {
  #lines: string[] = [];
  /** Index of the first line that is still kept. */
  #first = 0;
  #size = 0;
  #dropped = 0;

  add(line: string): void {
    this.#lines.push(line);
    this.#size += line.length;
    while (this.#size > LOG_TAIL) {
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
