import type { Event } from "../events.ts";

/** The log of a stage's run: its events as JSON lines, each with the seconds since the start. */
export interface Log extends Disposable {
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
