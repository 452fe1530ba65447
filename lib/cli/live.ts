import { Forecast, Pace } from "./estimate.ts";
import {
  bytes,
  clip,
  duration,
  Endings,
  LastLines,
  type Message,
  messageLine,
  progressText,
  type Renderer,
  type Style,
} from "./messages.ts";
import { printable } from "../pipeline/faults.ts";
import { shortIds } from "./short_ids.ts";

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
  const screen = new Screen(
    terminal,
    clock,
    (width, height) => table.rows(width, height),
  );
  return {
    show(message) {
      table.take(message, () => screen.width)
        .forEach((line) => screen.print(line));
      screen.refresh();
    },
    end() {
      table.held().forEach((line) => screen.print(line));
      screen.close();
    },
  };
}

/** Columns from which the bars are long. */
const WIDE = 100;

/** Columns of the time that is left: `59 min left`. */
const LEFT = 11;

/**
 * Lines of its log up to which a stage's log is shown when it has run: what it
 * found, such as the classes of the data. Longer logs are of progress.
 */
const FEW_LINES = 4;

interface RunningStage {
  readonly pace: Pace;
  /** Why it runs. */
  readonly reason: string;
  /** The lines of its log, as far as they are few. */
  readonly said: string[];
  /** Its job in a batch system. */
  job?: Message & { type: "queued" };
}

/** The state of a run, as rows of a table. */
class Table {
  readonly #style: Style;
  readonly #clock: Clock;
  readonly #running = new Map<string, RunningStage>();
  readonly #forecast = new Forecast();
  readonly #lastLines = new LastLines();
  readonly #endings: Endings;
  #pipeline = "";
  #stages: readonly string[] = [];
  #names:
    | { readonly rows: string; readonly names: ReadonlyMap<string, string> }
    | undefined;
  #finished = 0;
  #install: (Message & { type: "install" }) | undefined;
  #start: number;

  constructor(style: Style, clock: Clock) {
    this.#style = style;
    this.#clock = clock;
    this.#endings = new Endings(style);
    this.#start = clock.now();
  }

  /** Updates the table from a message. Returns the lines to print above it. */
  take(message: Message, width: () => number): readonly string[] {
    const running = "stage" in message
      ? this.#running.get(message.stage)
      : undefined;
    const now = this.#clock.now();
    const line = this.#endings.holds(message)
      ? undefined
      : messageLine(message, this.#style);
    const lines = line === undefined ? [] : [line];
    switch (message.type) {
      case "install":
        this.#install = message;
        return [];
      case "start":
        this.#pipeline = message.pipeline;
        this.#stages = message.stages;
        this.#start = now;
        return [];
      case "expected":
        this.#forecast.expect(message);
        return [];
      case "started": {
        const { stage, reason } = message;
        this.#install = undefined;
        const pace = new Pace(now, this.#forecast.secondsOf(stage));
        this.#running.set(stage, { pace, reason, said: [] });
        // The row of the stage says it.
        return [];
      }
      case "progress":
        running?.pace.take(message, now);
        return [];
      case "queued":
        if (running !== undefined) {
          const { stage, state } = message;
          const { reason, said } = running;
          // Its time in the queue is none of its run.
          const pace = state === "RUNNING" && running.job?.state !== state
            ? new Pace(now, this.#forecast.secondsOf(stage))
            : running.pace;
          this.#running.set(stage, { pace, reason, said, job: message });
        }
        return [];
      case "log":
        this.#lastLines.add(message);
        if (
          message.stream === "log" && running !== undefined &&
          running.said.length <= FEW_LINES
        ) running.said.push(printable(message.line));
        return [];
      case "summary":
        return [...this.held(), ...lines];
      case "verified":
        this.#end(message.stage, message.seconds);
        return lines;
      case "finished": {
        this.#lastLines.take(message);
        const ran = message.outcome === "ran";
        this.#end(message.stage, ran ? message.seconds : undefined);
        if (!ran || line === undefined || running === undefined) return lines;
        const said = running.said.length > FEW_LINES ? [] : running.said;
        return [
          this.#why(line, running, width()),
          ...said.map((it) => this.#style.dim(`  | ${it}`)),
        ];
      }
      case "interrupted":
      case "failed": {
        const last = this.#lastLines.take(message);
        if (message.type === "failed" && message.retry) {
          this.#running.delete(message.stage);
        } else this.#end(message.stage);
        return line === undefined
          ? []
          : [...last.map((it) => this.#style.dim(`  | ${it}`)), line];
      }
      default:
        return lines;
    }
  }

  /** Lines that were held for the end. */
  held(): readonly string[] {
    return this.#endings.take();
  }

  #end(stage: string, seconds?: number): void {
    this.#finished++;
    this.#running.delete(stage);
    this.#forecast.end(stage, seconds);
  }

  /** The line of a stage that has run, with the reason why it did if there is room. */
  #why(line: string, { reason }: RunningStage, width: number): string {
    // deno-lint-ignore no-control-regex
    const left = width - line.replace(/\x1b\[\d+m/g, "").length - 3;
    return reason === "" || left < 10
      ? line
      : `${line} ${this.#style.dim(`(${clip(reason, left)})`)}`;
  }

  /** The rows of the table, at most so many. */
  rows(width: number, height: number): string[] {
    const rows = this.#install ? [this.#installRow(this.#install, width)] : [];
    if (this.#running.size === 0) return rows;
    rows.push(this.#headRow());
    const room = Math.max(1, height - rows.length);
    const shown = [...this.#running];
    const hidden = shown.length > room
      ? shown.splice(Math.max(1, room - 1)).length
      : 0;
    const names = this.#shortNames(shown.map(([stage]) => stage), width);
    const column = Math.max(...[...names.values()].map((it) => it.length));
    for (const [stage, running] of shown) {
      const name = names.get(stage)!.padEnd(column);
      const bar = this.#barWidth(width);
      const rest = width - column - bar - LEFT - 13;
      rows.push(`  ${name}  ${this.#progress(running, bar, rest)}`.trimEnd());
    }
    if (hidden > 0) rows.push(this.#style.dim(`  and ${hidden} more`));
    return rows;
  }

  /** Names of rows, which are made once for the same rows: a run may have thousands of stages. */
  #shortNames(
    stages: readonly string[],
    width: number,
  ): ReadonlyMap<string, string> {
    const rows = [width, ...stages].join(" ");
    if (this.#names?.rows !== rows) {
      const most = Math.floor(width * 0.3);
      const names = shortIds(stages, most, this.#stages);
      this.#names = { rows, names };
    }
    return this.#names.names;
  }

  #headRow(): string {
    const now = this.#clock.now();
    const paces = new Map(
      [...this.#running].map(([stage, { pace }]) => [stage, pace]),
    );
    const left = this.#forecast.left(paces, now);
    const time = duration((now - this.#start) / 1000);
    const end = left === undefined
      ? ""
      : `, ${left.isMinimum ? "over " : ""}${about(left.seconds)} left`;
    return this.#style.bold(this.#pipeline) +
      this.#style.dim(
        `  ${this.#finished}/${this.#stages.length} stages  ${time}${end}`,
      );
  }

  #progress(
    { pace, job, said }: RunningStage,
    bar: number,
    width: number,
  ): string {
    const { progress, share } = pace;
    const now = this.#clock.now();
    const passed = duration((now - pace.since) / 1000);
    const left = pace.left(now);
    const time = left === undefined ? passed : `${about(left)} left`;
    if (job !== undefined && (job.state !== "RUNNING" || !progress)) {
      const why = job.reason === undefined ? "" : ` (${printable(job.reason)})`;
      const text = `job ${job.job} ${job.state}${why}`;
      return this.#cells(bar, 0, passed, clip(text, width));
    }
    if (progress === undefined || progress.total <= 0) {
      return this.#cells(bar, 0, time, clip(said.at(-1) ?? "", width));
    }
    const number = job === undefined ? "" : `job ${job.job}: `;
    const text = pace.otherWork === undefined
      ? progressText(progress)
      : printable(pace.otherWork);
    return this.#cells(bar, share, time, clip(number + text, width));
  }

  #cells(bar: number, share: number, time: string, text: string): string {
    return `${this.#bar(bar, share)} ${percent(share)}  ${
      time.padEnd(LEFT)
    }  ${text}`;
  }

  #installRow(
    { step, subject, done, total }: Message & { type: "install" },
    width: number,
  ): string {
    if (total === 0) return `  ${step} ${subject}`;
    const share = Math.min(1, done / total);
    return `  ${this.#bar(this.#barWidth(width), share)} ${
      percent(share)
    }  ${step} ${subject}, ${bytes(done)} of ${bytes(total)}`;
  }

  #barWidth(width: number): number {
    return width < WIDE ? 10 : 16;
  }

  #bar(width: number, share: number): string {
    const full = Math.round(share * width);
    return this.#style.green("━".repeat(full)) +
      this.#style.dim("━".repeat(width - full));
  }
}

/** An estimated duration: `45 s`, `12 min`, `2.1 h`, `3 days`. */
function about(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  const hours = seconds / 3600;
  return hours < 48
    ? `${hours.toFixed(1)} h`
    : `${Math.round(hours / 24)} days`;
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
  readonly #rows: (width: number, height: number) => readonly string[];
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
    rows: (width: number, height: number) => readonly string[],
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
    const { rows = 24 } = this.#terminal.size() ?? {};
    const { width } = this;
    const height = Math.max(1, rows - 1);
    const shown = this.#rows(width, height).slice(0, height);
    this.#frame(shown.map((row) => fit(row, width)));
  }

  /** Columns of a row; the last one stays free, since some terminals wrap after it. */
  get width(): number {
    return (this.#terminal.size()?.columns ?? 80) - 1;
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
