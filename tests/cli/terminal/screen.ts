/** A control sequence and its code, or a character. */
const SEQUENCE = new RegExp("\x1b\\[([?\\d;]*[A-Za-z])|[^\x1b]", "gu");

/**
 * A terminal's screen: it wraps or cuts long lines and scrolls, as xterm does
 * for what the live table writes.
 */
export class Screen {
  /** Rows of the screen. */
  rows: string[];
  /** Rows that have scrolled away. */
  readonly above: string[] = [];
  /** Number of lines that were too long for a row. */
  wraps = 0;
  /** The rows after each frame. */
  readonly frames: (readonly string[])[] = [];
  #row = 0;
  #column = 0;
  #isWrapping = true;

  constructor(readonly columns: number, readonly height: number) {
    this.rows = Array.from({ length: height }, () => "");
  }

  write(text: string): void {
    for (const [part, code] of text.matchAll(SEQUENCE)) {
      if (code === undefined) this.#put(part);
      else if (code.endsWith("A")) {
        this.#row = Math.max(0, this.#row - Number(code.slice(0, -1)));
      } else if (code === "K") {
        this.rows[this.#row] = this.rows[this.#row]!.slice(0, this.#column);
      } else if (code === "J") {
        this.rows[this.#row] = this.rows[this.#row]!.slice(0, this.#column);
        this.rows.fill("", this.#row + 1);
      } else if (code === "?7h" || code === "?7l") {
        this.#isWrapping = code === "?7h";
      } else if (code === "?2026l") this.frames.push([...this.rows]);
    }
  }

  #put(character: string): void {
    if (character === "\r") this.#column = 0;
    else if (character === "\n") this.#down();
    else {
      if (this.#column === this.columns) {
        this.wraps++;
        this.#column = 0;
        this.#down();
      }
      const row = this.rows[this.#row]!.padEnd(this.#column);
      this.rows[this.#row] = row.slice(0, this.#column) + character +
        row.slice(this.#column + 1);
      // Without wrapping, the cursor stays in the last column.
      if (this.#isWrapping || this.#column < this.columns - 1) this.#column++;
    }
  }

  #down(): void {
    if (this.#row < this.height - 1) this.#row++;
    else {
      this.above.push(this.rows.shift()!);
      this.rows.push("");
    }
  }
}
