const CR = 13;
const LF = 10;

/** Numbers the lines of a text that is read from its beginning on; the first is 1. */
export class LineCounter {
  readonly #bytes: Uint8Array;
  /** What ends a line, or ends it last. */
  readonly #end: number;
  #offset = 0;
  #line = 1;

  constructor(text: string) {
    this.#bytes = new TextEncoder().encode(text);
    this.#end = text.includes("\n") ? LF : CR;
  }

  /**
   * The line of the first byte of UTF-8 from `offset` on that ends no line.
   *
   * @param offset No less than at the call before.
   */
  after(offset: number): number {
    const bytes = this.#bytes;
    const ends = (byte: number | undefined) => byte === CR || byte === LF;
    while (this.#offset < offset || ends(bytes[this.#offset])) {
      if (bytes[this.#offset] === this.#end) this.#line++;
      this.#offset++;
    }
    return this.#line;
  }
}
