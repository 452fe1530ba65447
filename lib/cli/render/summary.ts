import { printable } from "../../pipeline/faults.ts";
import type { Event, Summary } from "../../scheduler/events.ts";
import type { Style } from "./style.ts";
import { count, duration } from "./words.ts";

/** What a run came to, in one line. */
export function summaryLine(summary: Summary, style: Style): string {
  const { ran, restored, unchanged, failed, skipped, seconds } = summary;
  const time = `in ${duration(seconds)}`;
  if (ran + restored + failed + skipped === 0) {
    return style.green(
      `Nothing to do: ${count(unchanged, "stage")} unchanged, ${time}`,
    );
  }
  const parts = Object.entries({ ran, restored, unchanged, failed, skipped })
    .filter(([word, number]) => number > 0 || word === "ran")
    .map(([word, number]) => `${number} ${word}`);
  const line = `${
    count(ran + restored + unchanged + failed + skipped, "stage")
  }: ${parts.join(", ")}, ${time}`;
  return failed > 0
    ? style.red(line)
    : skipped > 0
    ? style.yellow(line)
    : style.green(line);
}

/** The last lines that stages wrote, for those that fail. */
export class LastLines {
  readonly #lines = new Map<string, string[]>();

  constructor(readonly most = 20) {}

  add({ stage, line }: Event & { type: "log" }): void {
    const lines = this.#lines.get(stage) ?? [];
    lines.push(printable(line));
    if (lines.length > this.most) lines.shift();
    this.#lines.set(stage, lines);
  }

  /** The lines of a stage, which are forgotten then. */
  take(stage: string): readonly string[] {
    const lines = this.#lines.get(stage) ?? [];
    this.#lines.delete(stage);
    return lines;
  }
}
