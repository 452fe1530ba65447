/** Number of bytes from which a grapheme is looked up by character only. */
const LONG_GRAPHEME = 6;
/** Maximum number of cached graphemes. */
const CACHED = 20_000;
/**
 * A text whose characters are its graphemes: no `\r\n`, no combining or joining
 * characters.
 */
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
 *
 * @param base64 The map as `tokenizer.json` has it; empty is a map without
 * rules.
 * @returns A function that throws a `RangeError` if a part of the map that its
 * text needs is damaged.
 * @throws {RangeError | SyntaxError} If it is damaged, or not base64.
 */
export function precompiledMap(base64: string): (text: string) => string {
  const bytes = Uint8Array.fromBase64(base64);
  if (bytes.length === 0) return (text) => text;
  const size = bytes.length < 4 ? 0 : new Uint32Array(bytes.buffer, 0, 1)[0]!;
  if (size < 4 || size % 4 !== 0 || size > bytes.length - 4) {
    throw new RangeError(
      `"precompiled_charsmap" is damaged: it has ${bytes.length} bytes, which do not hold a trie of ${size}`,
    );
  }
  const trie = new Uint32Array(bytes.buffer, 4, size / 4);
  /** Replacements in UTF-8, each ending with a zero. */
  const results = bytes.subarray(4 + size);
  const cached = new Map<string, string>();
  const encoder = new TextEncoder();
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  const unitAt = (node: number): number => {
    const unit = trie[node];
    if (unit !== undefined) return unit;
    throw new RangeError(
      `"precompiled_charsmap" is damaged: its trie has no unit ${node}`,
    );
  };
  /**
   * The result of the shortest rule that is a prefix of the text; undefined if
   * there is none.
   */
  const lookUp = (text: string): string | undefined => {
    const bytes = encoder.encode(text);
    if (bytes.length >= LONG_GRAPHEME) return undefined;
    let node = offsetOf(trie[0]!);
    for (const byte of bytes) {
      if (byte === 0) return undefined;
      node ^= byte;
      const unit = unitAt(node);
      if ((unit & 0x800000ff) !== byte) return undefined;
      node ^= offsetOf(unit);
      if ((unit >>> 8) & 1) {
        const start = unitAt(node) & 0x7fffffff;
        const end = results.indexOf(0, start);
        return decoder.decode(
          results.subarray(start, end === -1 ? undefined : end),
        );
      }
    }
    return undefined;
  };
  const replaced = (grapheme: string) =>
    lookUp(grapheme) ??
      Array.from(grapheme, (it) => lookUp(it) ?? it).join("");

  return (text) => {
    const parts = SIMPLE.test(text)
      ? Array.from(text)
      : Array.from(graphemes.segment(text), ({ segment }) => segment);
    if (cached.size >= CACHED) cached.clear();
    return parts.map((it) => cached.getOrInsertComputed(it, replaced)).join("");
  };
}

/** Distance to the children of a node (darts-clone's `DoubleArrayUnit`). */
function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}
