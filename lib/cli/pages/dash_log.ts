import type { Event } from "../../scheduler/events.ts";
import { Lines } from "../../scheduler/journal.ts";
import { statIfThere } from "../../store/files.ts";

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
  #size = 0;
  #added: Lines;

  constructor(path: string) {
    this.path = path;
    this.#added = new Lines(path);
  }

  /** Reads what has been added, unless the run has ended and its log was moved. */
  read(): void {
    const info = statIfThere(this.path);
    if (info === undefined) return;
    // A new file may get the inode of one that was removed.
    const file = `${info.ino} ${info.birthtime?.getTime()}`;
    if (file !== this.file || info.size < this.#size) {
      this.series.clear();
      this.lines.length = 0;
      this.progress = undefined;
      this.#added = new Lines(this.path);
    }
    this.file = file;
    this.#size = info.size;
    for (const line of this.#added.read()) this.#take(JSON.parse(line));
    this.lines.splice(0, Math.max(0, this.lines.length - MAX_LINES));
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
