import {
  bytes,
  clip,
  duration,
  failedLine,
  finishedLine,
  LastLines,
  type Message,
  progressText,
  type Renderer,
  type Style,
  summaryLine,
} from "./messages.ts";

/** Cells of a progress bar. */
const BAR = 16;

/** A stage that is running. */
interface Running {
  readonly since: number;
  progress?: Message & { type: "progress" };
}

/**
 * Shows running stages as a table that stays at the bottom of the terminal;
 * what is over scrolls away above it.
 */
export function liveTable(terminal: Terminal, style: Style): Renderer {
  const table = new Table(style);
  const screen = new Screen(terminal, (width) => table.rows(width));
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

/** What is going on, as rows of a table. */
class Table {
  readonly #style: Style;
  readonly #running = new Map<string, Running>();
  readonly #last = new LastLines();
  #pipeline = "";
  #total = 0;
  #over = 0;
  #install: (Message & { type: "install" }) | undefined;
  #start = performance.now();

  constructor(style: Style) {
    this.#style = style;
  }

  /** Takes a message in. Returns what is to be printed above the table. */
  take(message: Message): string | undefined {
    switch (message.type) {
      case "engine":
        return this.#style.dim(`engine: ${message.engine} - ${message.reason}`);
      case "install":
        this.#install = message;
        return undefined;
      case "note":
        return message.text;
      case "start":
        this.#pipeline = message.pipeline;
        this.#total = message.stages.length;
        this.#start = performance.now();
        return undefined;
      case "started":
        this.#install = undefined;
        this.#running.set(message.stage, { since: performance.now() });
        return `${
          this.#style.dim(`${message.stage}:`)
        } run - ${message.reason}`;
      case "progress": {
        const running = this.#running.get(message.stage);
        if (running) running.progress = message;
        return undefined;
      }
      case "log":
        this.#last.add(message);
        return undefined;
      case "finished":
        this.#over++;
        this.#running.delete(message.stage);
        this.#last.take(message.stage);
        return finishedLine(message, this.#style);
      case "failed": {
        this.#running.delete(message.stage);
        const lines = this.#last.take(message.stage);
        if (!message.retry) this.#over++;
        return [
          ...lines.map((line) => this.#style.dim(`  | ${line}`)),
          failedLine(message, this.#style),
        ].join("\n");
      }
      case "shown":
        return `\n${message.text.trimEnd()}\n\n${
          this.#style.dim(message.path)
        }`;
      case "summary":
        return summaryLine(message, this.#style);
      case "decided":
      case "metric":
        return undefined;
    }
  }

  rows(width: number): string[] {
    const now = performance.now();
    const rows = this.#install ? [this.#installRow(this.#install)] : [];
    if (this.#running.size > 0) {
      const time = duration((now - this.#start) / 1000);
      rows.push(
        this.#style.bold(this.#pipeline) +
          this.#style.dim(`  ${this.#over}/${this.#total} stages  ${time}`),
      );
    }
    const names = [...this.#running.keys()];
    const column = Math.min(
      Math.max(0, ...names.map((it) => it.length)),
      Math.floor(width / 3),
    );
    for (const [stage, running] of this.#running) {
      const name = clip(stage, column).padEnd(column);
      const rest = width - column - BAR - 14;
      rows.push(`  ${name}  ${this.#barOf(running, now, Math.max(0, rest))}`);
    }
    return rows;
  }

  #barOf({ since, progress }: Running, now: number, width: number): string {
    const seconds = (now - since) / 1000;
    if (progress === undefined || progress.total <= 0) {
      return `${this.#style.dim("━".repeat(BAR))}       ${
        clip(duration(seconds), width)
      }`;
    }
    const share = Math.min(1, progress.done / progress.total);
    const left = share > 0.02
      ? `, ${duration(seconds * (1 - share) / share)} left`
      : "";
    const percent = `${Math.floor(100 * share)}%`.padStart(4);
    return `${this.#bar(share)} ${percent}  ${
      clip(progressText(progress) + left, width)
    }`;
  }

  #bar(share: number): string {
    const full = Math.round(share * BAR);
    return this.#style.green("━".repeat(full)) +
      this.#style.dim("━".repeat(BAR - full));
  }

  #installRow(
    { step, subject, done, total }: Message & { type: "install" },
  ): string {
    if (total === 0) return `  ${step} ${subject}`;
    const share = Math.min(1, done / total);
    return `  ${this.#bar(share)} ${
      `${Math.floor(100 * share)}%`.padStart(4)
    }  ${step} ${subject}, ${bytes(done)} of ${bytes(total)}`;
  }
}

/** A terminal, as far as it is used. */
interface Terminal {
  write(text: string): void;
  /** Columns and rows; undefined if they are not known. */
  size(): { readonly columns: number; readonly rows: number } | undefined;
}

/** Milliseconds between two frames. */
const FRAME = 100;

const HIDE_CURSOR = "\x1b[?25l";
const SHOW_CURSOR = "\x1b[?25h";
/** Terminals that know these show a frame at once; others ignore them. */
const BEGIN_FRAME = "\x1b[?2026h";
const END_FRAME = "\x1b[?2026l";
const CLEAR_TO_END_OF_LINE = "\x1b[K";
const CLEAR_BELOW = "\x1b[J";

/**
 * Keeps rows at the bottom of a terminal, and prints lines above them.
 *
 * Each frame is one write that goes over the last one, so nothing flickers.
 */
class Screen {
  readonly #terminal: Terminal;
  readonly #rows: (width: number) => readonly string[];
  readonly #timer: ReturnType<typeof setInterval>;
  /** Lines to print above the rows with the next frame. */
  #pending: string[] = [];
  /** Rows that stand on the screen, below which the cursor is. */
  #drawn = 0;
  #drawnAt = -Infinity;
  #closed = false;

  constructor(
    terminal: Terminal,
    rows: (width: number) => readonly string[],
  ) {
    this.#terminal = terminal;
    this.#rows = rows;
    // Time goes on in the rows when nothing else happens.
    this.#timer = setInterval(() => this.#draw(), FRAME);
  }

  print(text: string): void {
    this.#pending.push(...text.split("\n"));
  }

  /** Draws what has changed, unless that was done just now. */
  refresh(): void {
    if (performance.now() - this.#drawnAt >= FRAME) this.#draw();
  }

  /** Removes the rows, prints what is left to print, and shows the cursor. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#frame([]);
    this.#terminal.write(SHOW_CURSOR);
  }

  #draw(): void {
    if (this.#closed) return;
    const { columns = 80, rows = 24 } = this.#terminal.size() ?? {};
    const shown = this.#rows(columns - 1);
    const most = Math.max(1, rows - 1);
    this.#frame(shown.slice(0, most).map((row) => fit(row, columns - 1)));
  }

  #frame(rows: readonly string[]): void {
    this.#drawnAt = performance.now();
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

/** Cuts a row that would break into two, not counting colours. */
function fit(row: string, columns: number): string {
  let width = 0;
  let fitting = "";
  // deno-lint-ignore no-control-regex
  for (const part of row.split(/(\x1b\[\d+m)/)) {
    if (part.startsWith("\x1b[")) {
      fitting += part;
      continue;
    }
    fitting += part.slice(0, Math.max(0, columns - width));
    width += part.length;
  }
  return fitting;
}
