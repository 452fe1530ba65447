import { printable } from "../pipeline/fault.ts";
import type { Event, Summary } from "../scheduler/events.ts";

/** Everything that a command says while it works: what the scheduler says, and what goes before it. */
export type Message =
  | Event
  /** The engine that was chosen, and why. */
  | {
    readonly type: "engine";
    readonly engine: string;
    readonly identity: string;
    readonly reason: string;
  }
  /** Something is being fetched or unpacked before stages can run. */
  | {
    readonly type: "install";
    readonly step: string;
    readonly subject: string;
    /** Bytes; a step without a total is only named. */
    readonly done: number;
    readonly total: number;
  }
  /** A line for the reader. */
  | { readonly type: "note"; readonly text: string }
  /** A file that the pipeline shows at its end, with its text. */
  | {
    readonly type: "shown";
    readonly stage: string;
    readonly path: string;
    readonly text: string;
  };

/** Shows messages to whoever is there. */
export interface Renderer {
  show(message: Message): void;
  /** Puts the terminal back as it was. Called once, also after an error. */
  end(): void;
}

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

/** `128/8192 examples, loss 0.41` */
export function progressText(
  { done, total, unit, note }: Message & { type: "progress" },
): string {
  const text = `${done}/${total} ${unit}`;
  return printable(note === undefined ? text : `${text}, ${note}`);
}

/** How a stage ended; undefined for one that was as it should be. */
export function finishedLine(
  { stage, outcome, seconds, note }: Message & { type: "finished" },
  style: Style,
): string | undefined {
  switch (outcome) {
    case "ran":
      return `${stage}: ${style.green("done")} in ${duration(seconds)}`;
    case "restored":
      return `${stage}: ${style.cyan("restored")} from the cache`;
    case "skipped":
      return `${stage}: ${style.yellow("skipped")} - ${note ?? ""}`;
    case "unchanged":
      return undefined;
  }
}

/** Why a stage failed, and where its log is. */
export function failedLine(
  { stage, message, log, retry, attempt }: Message & { type: "failed" },
  style: Style,
): string {
  const first = `${stage}: ${style.red("failed")} - ${printable(message)}`;
  if (retry) return `${first}; ${count(attempt, "attempt")} so far`;
  return log === "" ? first : `${first}\n  log: ${log}`;
}

/** A duration in words: `0.04 s`, `12.3 s`, `3 min 20 s`, `2 h 5 min`. */
export function duration(seconds: number): string {
  if (seconds < 1) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A number of bytes in words: `512 B`, `4.2 GB`. */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 999.5 && unit < units.length - 1) {
    count /= 1000;
    unit++;
  }
  const digits = unit === 0 || count >= 100 ? 0 : 1;
  return `${count.toFixed(digits)} ${units[unit]}`;
}

/** `1 stage`, `2 stages`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** Cuts a text that is too wide, marking the cut. */
export function clip(text: string, width: number): string {
  return text.length <= width
    ? text
    : `${text.slice(0, Math.max(0, width - 1))}…`;
}

/** Colours text, or leaves it as it is. */
export interface Style {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
  cyan(text: string): string;
}

/** The style for a stream: colours in a terminal, unless `NO_COLOR` is set (https://no-color.org). */
export function styleFor(stream: { isTerminal(): boolean }): Style {
  const colors = stream.isTerminal() && !Deno.env.get("NO_COLOR") &&
    Deno.env.get("TERM") !== "dumb";
  const code = (on: number, off: number) => (text: string) =>
    colors ? `\x1b[${on}m${text}\x1b[${off}m` : text;
  return {
    bold: code(1, 22),
    dim: code(2, 22),
    red: code(31, 39),
    green: code(32, 39),
    yellow: code(33, 39),
    cyan: code(36, 39),
  };
}
