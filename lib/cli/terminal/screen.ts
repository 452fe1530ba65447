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
 * Without wrapping, the terminal itself cuts rows, whatever the width of their
 * characters.
 */
const NO_WRAP = "\x1b[?7l";
const WRAP = "\x1b[?7h";

/**
 * Keeps rows at the bottom of a terminal and prints lines above them. A frame
 * is one write over the last one, so nothing flickers.
 */
export class Screen {
  readonly #timer: ReturnType<typeof setInterval>;
  /** Lines to print above the rows with the next frame. */
  #pending: string[] = [];
  /** Number of rows on the screen; the cursor is below them. */
  #drawn = 0;

  constructor(
    readonly write: (text: string) => void,
    readonly rows: (width: number, height: number) => readonly string[],
  ) {
    // The rows show times, which change without any message.
    this.#timer = setInterval(() => this.#draw(), FRAME);
  }

  print(text: string): void {
    this.#pending.push(...text.split("\n"));
  }

  /** Removes the rows, prints the pending lines and shows the cursor. */
  close(): void {
    clearInterval(this.#timer);
    this.#frame([]);
    this.write(SHOW_CURSOR);
  }

  #draw(): void {
    // Some terminals report 0 rows and columns.
    const height = Math.max(1, (consoleSize().rows || 24) - 1);
    const shown = this.rows(this.width, height).slice(0, height);
    // The table counts rows.
    this.#frame(shown.map((row) => row.replaceAll(/\s/g, " ")));
  }

  /**
   * Columns of a row; the last one stays free, since some terminals wrap after
   * it.
   */
  get width(): number {
    return (consoleSize().columns || 80) - 1;
  }

  #frame(rows: readonly string[]): void {
    if (this.#pending.length + rows.length + this.#drawn === 0) return;
    const up = this.#drawn > 0 ? `\x1b[${this.#drawn}A` : "";
    const above = textOf(this.#pending);
    const below = textOf(rows);
    this.write(
      `${BEGIN_FRAME}${HIDE_CURSOR}${up}\r${above}${NO_WRAP}${below}${WRAP}${CLEAR_BELOW}${END_FRAME}`,
    );
    this.#pending = [];
    this.#drawn = rows.length;
  }
}

function textOf(lines: readonly string[]): string {
  return lines.map((line) => `${line}${CLEAR_TO_END_OF_LINE}\n`).join("");
}

function consoleSize() {
  try {
    return Deno.consoleSize();
  } catch {
    return { columns: 0, rows: 0 }; // The terminal does not report its size.
  }
}
