import { Tokenizer } from "@huggingface/tokenizers";

/** A text, or two texts that are classified together. */
export type Input = string | { readonly text: string; readonly pair: string };

/** Sequence of a text or a pair: ids of special tokens, and the places of the texts. */
type Layout = readonly (number | "A" | "B")[];

/** What the tokenizer of a model puts around texts. */
export interface Frame {
  readonly single: Layout;
  readonly pair: Layout;
  /** Token type of the second text. */
  readonly pairType: number;
  /** Whether long texts lose their beginnings. */
  readonly cutsLeft: boolean;
}

/** Maximum characters of a text: many times what any encoder reads. */
const MAX_CHARACTERS = 50_000;

/** Token ids of texts, as in the training: truncated like "longest_first" of transformers. */
export class TextEncoding {
  readonly #tokenizer: Tokenizer;
  readonly #frame: Frame;

  constructor(tokenizer: object, config: object, frame: Frame) {
    this.#tokenizer = new Tokenizer(tokenizer, config);
    this.#frame = frame;
  }

  /**
   * @param maxLength Maximum number of tokens
   * @param index Of the input, for messages
   * @throws {RangeError} If a text has more than 50,000 characters.
   * @throws {TypeError} If the input is neither a text nor a pair.
   */
  encode(input: Input, maxLength: number, index: number) {
    const { pairType, cutsLeft, ...frame } = this.#frame;
    const [a, b] =
      (typeof input === "string" ? [input] : [input?.text, input?.pair]).map((
        text,
      ) => this.#idsOf(text, index));
    const layout = b === undefined ? frame.single : frame.pair;
    const specials = layout.filter((it) => typeof it === "number").length;
    const kept = truncated(a!, b ?? [], maxLength - specials, cutsLeft);
    const ids: number[] = [];
    const types: number[] = [];
    // The special token after the first text belongs to it.
    const second = b === undefined ? Infinity : layout.indexOf("A") + 2;
    for (const [i, part] of layout.entries()) {
      const own = typeof part === "number" ? [part] : kept[part];
      ids.push(...own);
      types.push(...own.map(() => i < second ? 0 : pairType));
    }
    return { ids, types };
  }

  #idsOf(text: unknown, index: number): number[] {
    if (typeof text !== "string") {
      throw new TypeError(
        `Text ${index + 1} is neither a string nor { text, pair }`,
      );
    }
    if (text.length > MAX_CHARACTERS) {
      throw new RangeError(
        `Text ${
          index + 1
        } has ${text.length} characters, and at most ${MAX_CHARACTERS} are taken: cut it, since the model reads a few hundred words`,
      );
    }
    return this.#tokenizer.encode(text, { add_special_tokens: false }).ids;
  }
}

/** The texts of a pair within some room: the longer one is cut first; if that does not suffice, both get half. */
function truncated(
  a: readonly number[],
  b: readonly number[],
  room: number,
  cutsLeft: boolean,
): Record<"A" | "B", readonly number[]> {
  const shorter = Math.min(a.length, b.length);
  const longer = Math.max(shorter, room - shorter);
  const fits = a.length + b.length <= room;
  const [few, many] = shorter + longer <= room
    ? [shorter, longer]
    : [Math.floor(room / 2), Math.ceil(room / 2)];
  const [first, second] = fits
    ? [a.length, b.length]
    : a.length > b.length
    ? [many, few]
    : [few, many];
  const cut = (ids: readonly number[], length: number) =>
    cutsLeft ? ids.slice(ids.length - length) : ids.slice(0, length);
  return { A: cut(a, first), B: cut(b, second) };
}
