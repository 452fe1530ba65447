import type { Event } from "../../scheduler/events.ts";

/** Maximum number of lines of a log that the page shows. */
const MAX_LINES = 500;

/** The log at a path, read incrementally while it is written. A later run may replace the file. */
export class StageLog {
  readonly path: string;
  /** Points `[step, value]` of each metric. */
  readonly series = new Map<string, [number, number][]>();
  readonly lines: string[] = [];
  progress: Omit<Event & { type: "progress" }, "type" | "stage"> | undefined;
  /** Identifies the file that was read. */
  file = "";
  #decoder = new TextDecoder();
  #offset = 0;
  #rest = "";

  constructor(path: string) {
    this.path = path;
  }

  /** Reads what has been added. */
  read(): void {
    const added = this.#added();
    if (added === undefined) return;
    const lines = (this.#rest + added).split("\n");
    this.#rest = lines.pop()!;
    for (const line of lines) this.#take(JSON.parse(line) as Event);
    this.lines.splice(0, Math.max(0, this.lines.length - MAX_LINES));
  }

  /** Undefined if there is nothing new, or the run has ended and its log was moved. */
  #added(): string | undefined {
    try {
      using file = Deno.openSync(this.path);
      const { size, ino, birthtime } = file.statSync();
      // A new file may get the inode of one that was removed.
      const identity = `${ino} ${birthtime?.getTime()}`;
      if (identity !== this.file || size < this.#offset) this.#startOver();
      this.file = identity;
      if (size <= this.#offset) return undefined;
      file.seekSync(this.#offset, Deno.SeekMode.Start);
      const bytes = new Uint8Array(size - this.#offset);
      const count = file.readSync(bytes) ?? 0;
      this.#offset += count;
      return this.#decoder.decode(bytes.subarray(0, count), { stream: true });
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  #startOver(): void {
    this.series.clear();
    this.lines.length = 0;
    this.progress = undefined;
    this.#decoder = new TextDecoder();
    this.#offset = 0;
    this.#rest = "";
  }

  #take(event: Event): void {
    switch (event.type) {
      case "progress": {
        const { type: _, stage: __, ...progress } = event;
        this.progress = progress;
        break;
      }
      case "metric": {
        if (event.step === undefined) break;
        const points = this.series.get(event.name) ?? [];
        points.push([event.step, event.value]);
        this.series.set(event.name, points);
        // A log has fewer reports of progress than metrics.
        const { progress } = this;
        if (progress?.unit === "steps" && event.step > progress.done) {
          const note = `${event.name} ${event.value.toPrecision(4)}`;
          this.progress = { ...progress, done: event.step, note };
        }
        break;
      }
      case "log":
        if (event.stream !== "stack") this.lines.push(event.line);
        break;
      case "started":
        this.lines.push(`attempt ${event.attempt}: ${event.reason}`);
        break;
      case "failed":
        this.lines.push(`failed: ${event.message}`);
        break;
      case "interrupted":
        this.lines.push("interrupted");
        break;
    }
  }
}
