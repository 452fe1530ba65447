/** Number of bytes from which a grapheme is looked up by character only. */
const LONG_GRAPHEME = 6;
/** Maximum number of cached graphemes. */
const CACHED = 20_000;
/** A text whose characters are its graphemes: no `\r\n`, no combining or joining characters. */
const SIMPLE = /^[^\r\u0300-\u{10ffff}]*$/u;

const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

/**
 * The `precompiled_charsmap` of SentencePiece: rules that replace characters,
 * as a double-array trie over UTF-8 followed by the replacements.
 *
 * Lookups are those of the Rust library, which differ from SentencePiece's: a
 * grapheme of up to five bytes is looked up as a whole, and the shortest rule
 * that is a prefix of it replaces all of it; other characters are looked up one
 * by one (https://github.com/huggingface/spm_precompiled).
 */
export class PrecompiledMap {
  readonly #trie: Uint32Array;
  /** Replacements in UTF-8, each ending with a zero. */
  readonly #results: Uint8Array;
  readonly #known = new Map<string, string>();
  readonly #encoder = new TextEncoder();
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  /**
   * @param base64 The map as `tokenizer.json` has it; empty is a map without rules.
   * @throws {RangeError | SyntaxError} If it is damaged, or not base64.
   */
  constructor(base64: string) {
    const bytes = Uint8Array.fromBase64(base64);
    if (bytes.length === 0) {
      this.#trie = new Uint32Array(1);
      this.#results = bytes;
      return;
    }
    const size = bytes.length < 4 ? 0 : new Uint32Array(bytes.buffer, 0, 1)[0]!;
    if (size < 4 || size % 4 !== 0 || size > bytes.length - 4) {
      throw new RangeError(
        `"precompiled_charsmap" is damaged: it has ${bytes.length} bytes, which do not hold a trie of ${size}`,
      );
    }
    this.#trie = new Uint32Array(bytes.buffer, 4, size / 4);
    this.#results = bytes.subarray(4 + size);
  }

  /** @throws {RangeError} If a part of the map that this text needs is damaged. */
  normalize(text: string): string {
    let result = "";
    if (SIMPLE.test(text)) {
      for (const character of text) result += this.#replaced(character);
    } else {
      for (const { segment } of graphemes.segment(text)) {
        result += this.#replaced(segment);
      }
    }
    return result;
  }

  #replaced(grapheme: string): string {
    let result = this.#known.get(grapheme);
    if (result === undefined) {
      result = this.#lookUp(grapheme) ??
        Array.from(grapheme, (it) => this.#lookUp(it) ?? it).join("");
      if (this.#known.size >= CACHED) this.#known.clear();
      this.#known.set(grapheme, result);
    }
    return result;
  }

  /** The result of the shortest rule that is a prefix of the text; undefined if there is none. */
  #lookUp(text: string): string | undefined {
    const bytes = this.#encoder.encode(text);
    if (bytes.length >= LONG_GRAPHEME) return undefined;
    let node = offsetOf(this.#trie[0]!);
    for (const byte of bytes) {
      if (byte === 0) return undefined;
      node ^= byte;
      const unit = this.#unit(node);
      if ((unit & 0x800000ff) !== byte) return undefined;
      node ^= offsetOf(unit);
      if ((unit >>> 8) & 1) {
        const start = this.#unit(node) & 0x7fffffff;
        const end = this.#results.indexOf(0, start);
        return this.#decoder.decode(
          this.#results.subarray(start, end === -1 ? undefined : end),
        );
      }
    }
    return undefined;
  }

  #unit(node: number): number {
    const unit = this.#trie[node];
    if (unit === undefined) {
      throw new RangeError(
        `"precompiled_charsmap" is damaged: its trie has no unit ${node}`,
      );
    }
    return unit;
  }
}

/** Distance to the children of a node (darts-clone's `DoubleArrayUnit`). */
function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}
