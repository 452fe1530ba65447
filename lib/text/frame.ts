/**
 * What a tokenizer puts around texts, and how it cuts those that are too long.
 * It imports nothing, since users of lib/serve have it in their bundle.
 */

/**
 * Sequence of a text or a pair: ids of special tokens, and the texts between
 * them.
 */
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

/** The tokens of one or two texts within their special tokens. */
export interface FramedTokens {
  /** Token ids including special tokens. */
  readonly ids: number[];
  /**
   * Token types: 1 for the second text of a pair if the model distinguishes
   * them.
   */
  readonly types: number[];
  /** Whether tokens of the texts were left out. */
  readonly truncated: boolean;
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
): FramedTokens {
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
  const fits = a.length + b.length <= room;
  const cut = (ids: readonly number[], length: number) =>
    cutsLeft ? ids.slice(ids.length - length) : ids.slice(0, length);
  const first = fits ? a : cut(a, lengths[0]!);
  const second = fits ? b : cut(b, lengths[1]!);
  const parts = layout.map((it) =>
    typeof it === "number" ? [it] : it === "A" ? first : second
  );
  // The special token after the first text belongs to it.
  const ofFirst = texts.length > 1 ? layout.indexOf("A") + 2 : Infinity;
  return {
    ids: parts.flat(),
    types: parts.flatMap((it, i) => it.map(() => i < ofFirst ? 0 : pairType)),
    truncated: first.length < a.length || second.length < b.length,
  };
}

/**
 * A token of a text that is the first of one of its words, by their numbers.
 */
export interface FirstToken {
  readonly token: number;
  readonly word: number;
}

/** A part of a text whose words are read one by one. */
export interface WordWindow extends FramedTokens {
  /** First tokens of words that are read in it. */
  readonly firsts: readonly FirstToken[];
}

/**
 * A text whose words are read one by one, at their first tokens, within its
 * special tokens. A longer one than the model takes is cut into windows of
 * equal lengths that overlap by a quarter; each word is read where it has more
 * context.
 *
 * @param ids Token ids of the text
 * @param firsts First tokens among them, in ascending order
 * @param maxLength Maximum number of tokens of a window including special
 * tokens
 * @returns For each window its tokens, and the first tokens among them that are
 * read there.
 */
export function windowsOf(
  ids: readonly number[],
  firsts: readonly FirstToken[],
  { single }: Pick<Frame, "single">,
  maxLength: number,
): WordWindow[] {
  const specials = single.filter((it) => typeof it === "number").length;
  const before = single.indexOf("A");
  const room = Math.max(1, maxLength - specials);
  const step = room - Math.floor(room / 4);
  const count = Math.max(1, Math.ceil((ids.length - room) / step) + 1);
  const startOf = (window: number) =>
    Math.max(0, Math.min(window * step, ids.length - room));
  /**
   * The token from which words are read in a window, and no more in the one
   * before.
   */
  const readFrom = (window: number) =>
    window === 0
      ? 0
      : window === count
      ? ids.length
      : (startOf(window) + startOf(window - 1) + room) >> 1;
  return Array.from({ length: count }, (_, window) => {
    const start = startOf(window);
    const tokens = ids.slice(start, start + room);
    const all = single.flatMap((it) => typeof it === "number" ? [it] : tokens);
    return {
      ids: all,
      types: all.map(() => 0),
      truncated: false,
      firsts: firsts.filter(({ token }) =>
        token >= readFrom(window) && token < readFrom(window + 1)
      ).map(({ token, word }) => ({ token: token - start + before, word })),
    };
  });
}
