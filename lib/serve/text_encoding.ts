import { Tokenizer } from "@huggingface/tokenizers";
import { type Frame, framed } from "./frame.ts";

/** A text, or two texts that are classified together. */
export type Input = string | { readonly text: string; readonly pair: string };

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
    const texts = typeof input === "string"
      ? [input]
      : [input?.text, input?.pair];
    const ids = texts.map((it) => this.#idsOf(it, index));
    return framed(ids, this.#frame, maxLength);
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
