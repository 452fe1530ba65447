import {
  bytes,
  clip,
  duration,
  LastLines,
  type Message,
  messageLine,
  progressText,
  type Renderer,
  type Style,
} from "./messages.ts";
import { printable } from "../pipeline/faults.ts";

/** The parts of a terminal that the live table uses. */
interface Terminal {
  write(text: string): void;
  /** Columns and rows; undefined if they are unknown. */
  size(): { readonly columns: number; readonly rows: number } | undefined;
}

/** The clock of the live table; tests replace it. */
export interface Clock {
  /** The time in milliseconds. */
  now(): number;
  /** Calls `tick` at an interval in milliseconds; returns a function that stops it. */
  every(milliseconds: number, tick: () => void): () => void;
}

const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  every(milliseconds, tick) {
    const timer = setInterval(tick, milliseconds);
    return () => clearInterval(timer);
  },
};

/**
 * Renders running stages as a table at the bottom of the terminal; finished
 * stages scroll away above it.
 */
export function liveTable(
  terminal: Terminal,
  style: Style,
  clock = SYSTEM_CLOCK,
): Renderer {
  const table = new Table(style, clock);
  const screen = new Screen(terminal, clock, (width) => table.rows(width));
  return {
    show(message) {
      const above = table.take(message);
      if (above !== undefined) screen.print(above);
      screen.refresh();
      if (message.type === "summary") screen.close();
    },
    end: () => screen.close(),
  };
}

/** Cells of a progress bar. */
const BAR = 16;

interface RunningStage {
  /** When it, or its job, started, in the clock's milliseconds. */
  since: number;
  /** Its job in a batch system. */
  job?: Message & { type: "queued" };
  progress?: Message & { type: "progress" };
}

/** The state of a run, as rows of a table. */
class Table {
  readonly #style: Style;
  readonly #clock: Clock;
  readonly #running = new Map<string, RunningStage>();
  readonly #lastLines = new LastLines();
  #pipeline = "";
  #total = 0;
  #finished = 0;
  #install: (Message & { type: "install" }) | undefined;
  #start: number;

  constructor(style: Style, clock: Clock) {
    this.#style = style;
    this.#clock = clock;
    this.#start = clock.now();
  }

  /** Updates the table from a message. Returns the text to print above it. */
  take(message: Message): string | undefined {
    const line = messageLine(message, this.#style);
    switch (message.type) {
      case "install":
        this.#install = message;
        break;
      case "start":
        this.#pipeline = message.pipeline;
        this.#total = message.stages.length;
        this.#start = this.#clock.now();
        break;
      case "started":
        this.#install = undefined;
        this.#running.set(message.stage, { since: this.#clock.now() });
        break;
      case "progress": {
        const running = this.#running.get(message.stage);
        if (running) running.progress = message;
        break;
      }
      case "queued": {
        const running = this.#running.get(message.stage);
        if (running) {
          if (message.state === "RUNNING") running.since = this.#clock.now();
          running.job = message;
        }
        // The row of the stage shows it.
        return undefined;
      }
      case "log":
        this.#lastLines.add(message);
        break;
      case "finished":
      case "verified":
        this.#finished++;
        this.#running.delete(message.stage);
        this.#lastLines.take(message.stage);
        break;
      case "failed": {
        if (!message.retry) this.#finished++;
        this.#running.delete(message.stage);
        const lines = this.#lastLines.take(message.stage)
          .map((it) => this.#style.dim(`  | ${it}`));
        return [...lines, line].join("\n");
      }
    }
    return line;
  }

  rows(width: number): string[] {
    const rows = this.#install ? [this.#installRow(this.#install)] : [];
    if (this.#running.size > 0) {
      const time = duration((this.#clock.now() - this.#start) / 1000);
      rows.push(
        this.#style.bold(this.#pipeline) +
          this.#style.dim(`  ${this.#finished}/${this.#total} stages  ${time}`),
      );
    }
    const longest = Math.max(
      0,
      ...[...this.#running.keys()].map((it) => it.length),
    );
    const column = Math.min(longest, Math.floor(width / 3));
    const rest = Math.max(0, width - column - BAR - 14);
    for (const [stage, running] of this.#running) {
      const name = clip(stage, column).padEnd(column);
      rows.push(`  ${name}  ${this.#progress(running, rest)}`);
    }
    return rows;
  }

  #progress({ since, progress, job }: RunningStage, width: number): string {
    const seconds = (this.#clock.now() - since) / 1000;
    if (job !== undefined && (job.state !== "RUNNING" || !progress)) {
      const why = job.reason === undefined ? "" : ` (${printable(job.reason)})`;
      const text = `job ${job.job} ${job.state}${why}, ${duration(seconds)}`;
      return `${this.#bar(0)}       ${clip(text, width)}`;
    }
    if (progress === undefined || progress.total <= 0) {
      return `${this.#bar(0)}       ${clip(duration(seconds), width)}`;
    }
    const share = Math.min(1, progress.done / progress.total);
    const left = share > 0.02
      ? `, ${duration(seconds * (1 - share) / share)} left`
      : "";
    const number = job === undefined ? "" : `job ${job.job}: `;
    const text = clip(number + progressText(progress) + left, width);
    return `${this.#bar(share)} ${percent(share)}  ${text}`;
  }

  #installRow(
    { step, subject, done, total }: Message & { type: "install" },
  ): string {
    if (total === 0) return `  ${step} ${subject}`;
    const share = Math.min(1, done / total);
    return `  ${this.#bar(share)} ${percent(share)}  ${step} ${subject}, ${
      bytes(done)
    } of ${bytes(total)}`;
  }

  #bar(share: number): string {
    const full = Math.round(share * BAR);
    return this.#style.green("━".repeat(full)) +
      this.#style.dim("━".repeat(BAR - full));
  }
}

function percent(share: number): string {
  return `${Math.floor(100 * share)}%`.padStart(4);
}

/** Milliseconds between two frames. */
const FRAME = 100;

const HIDE_CURSOR = "\x1b[?25l";
const SHOW_CURSOR = "\x1b[?25h";
/** Synchronized output: terminals that support it show a frame at once. */
const BEGIN_FRAME = "\x1b[?2026h";
const END_FRAME = "\x1b[?2026l";
const CLEAR_TO_END_OF_LINE = "\x1b[K";
const CLEAR_BELOW = "\x1b[J";

/**
 * Keeps rows at the bottom of a terminal and prints lines above them. A frame
 * is one write over the last one, so nothing flickers.
 */
class Screen {
  readonly #terminal: Terminal;
  readonly #clock: Clock;
  readonly #rows: (width: number) => readonly string[];
  readonly #stop: () => void;
  /** Lines to print above the rows with the next frame. */
  #pending: string[] = [];
  /** Number of rows on the screen; the cursor is below them. */
  #drawn = 0;
  #drawnAt = -Infinity;
  #closed = false;

  constructor(
    terminal: Terminal,
    clock: Clock,
    rows: (width: number) => readonly string[],
  ) {
    this.#terminal = terminal;
    this.#clock = clock;
    this.#rows = rows;
    // The rows show times, which change without any message.
    this.#stop = clock.every(FRAME, () => this.#draw());
  }

  print(text: string): void {
    this.#pending.push(...text.split("\n"));
  }

  /** Draws a frame, unless the last one is too recent. */
  refresh(): void {
    if (this.#clock.now() - this.#drawnAt >= FRAME) this.#draw();
  }

  /** Removes the rows, prints the pending lines and shows the cursor. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stop();
    this.#frame([]);
    this.#terminal.write(SHOW_CURSOR);
  }

  #draw(): void {
    if (this.#closed) return;
    const { columns = 80, rows = 24 } = this.#terminal.size() ?? {};
    const shown = this.#rows(columns - 1).slice(0, Math.max(1, rows - 1));
    this.#frame(shown.map((row) => fit(row, columns - 1)));
  }

  #frame(rows: readonly string[]): void {
    this.#drawnAt = this.#clock.now();
    if (this.#pending.length + rows.length + this.#drawn === 0) return;
    const up = this.#drawn > 0 ? `\x1b[${this.#drawn}A` : "";
    const lines = [...this.#pending, ...rows]
      .map((line) => `${line}${CLEAR_TO_END_OF_LINE}\n`).join("");
    this.#terminal.write(
      `${BEGIN_FRAME}${HIDE_CURSOR}${up}\r${lines}${CLEAR_BELOW}${END_FRAME}`,
    );
    this.#pending = [];
    this.#drawn = rows.length;
  }
}

/** Truncates a row to the width of the terminal, not counting escape codes. */
function fit(row: string, columns: number): string {
  let width = 0;
  let result = "";
  // deno-lint-ignore no-control-regex
  for (const part of row.split(/(\x1b\[\d+m)/)) {
    if (part.startsWith("\x1b[")) {
      result += part;
      continue;
    }
    result += part.slice(0, Math.max(0, columns - width));
    width += part.length;
  }
  return result;
}
