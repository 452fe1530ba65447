/** A terminal, as far as it is used. */
export interface Terminal {
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
export class Screen {
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
