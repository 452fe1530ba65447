/** Sequence of a text or a pair: ids of special tokens, and the places of the texts. */
export type Layout = readonly (number | "A" | "B")[];

/** What the tokenizer of a model puts around texts. */
export interface Frame {
  readonly single: Layout;
  readonly pair: Layout;
  /** Token type of the second text. */
  readonly pairType: number;
  /** Whether long texts lose their beginnings. */
  readonly cutsLeft: boolean;
}

/**
 * The tokens of one or two texts within their special tokens, truncated like
 * `truncation="longest_first"` of transformers.
 *
 * @param maxLength Maximum number of tokens including special tokens
 */
export function framed(
  texts: readonly (readonly number[])[],
  { single, pair, pairType, cutsLeft }: Frame,
  maxLength: number,
) {
  const [a = [], b = []] = texts;
  const layout = texts.length > 1 ? pair : single;
  const specials = layout.filter((it) => typeof it === "number").length;
  const room = Math.max(0, maxLength - specials);
  // The longer text is cut first; if that does not suffice, both get half
  // (`truncate_encodings()` of https://github.com/huggingface/tokenizers).
  const shorter = Math.min(a.length, b.length);
  const longer = Math.max(shorter, room - shorter);
  const lengths = shorter + longer <= room
    ? [shorter, longer]
    : [Math.floor(room / 2), Math.ceil(room / 2)];
  if (a.length > b.length) lengths.reverse();
  const [first, second] = [a, b].map((ids, i) => {
    const kept = a.length + b.length <= room ? ids.length : lengths[i]!;
    return cutsLeft ? ids.slice(ids.length - kept) : ids.slice(0, kept);
  }) as [number[], number[]];
  const parts = layout.map((it) =>
    typeof it === "number" ? [it] : it === "A" ? first : second
  );
  // The special token after the first text belongs to it.
  const ofFirst = texts.length > 1 ? layout.indexOf("A") + 2 : Infinity;
  return {
    /** Token ids including special tokens. */
    ids: parts.flat(),
    /** Token types: 1 for the second text of a pair if the model distinguishes them. */
    types: parts.flatMap((it, i) => it.map(() => i < ofFirst ? 0 : pairType)),
    /** Whether tokens of the texts were left out. */
    truncated: first.length < a.length || second.length < b.length,
  };
}
