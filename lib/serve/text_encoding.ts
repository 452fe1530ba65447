import { Tokenizer } from "@huggingface/tokenizers";
import { type WordForm, wordsIn } from "../problems/entities.ts";
import {
  type FirstToken,
  type Frame,
  framed,
  windowsOf,
} from "../text/frame.ts";

/** A text, or two texts that are classified together. */
export type Input = string | { readonly text: string; readonly pair: string };

/**
 * Maximum characters of a text that are tokenized again to find the first
 * tokens of its words.
 */
const MAX_AGAIN = 1_000_000;

/** Maximum characters of a text: many times what any encoder reads. */
const MAX_CHARACTERS = 50_000;

/**
 * Token ids of texts, as in the training: truncated like "longest_first" of
 * transformers.
 */
export class TextEncoding {
  readonly #tokenizer: Tokenizer;
  readonly #frame: Frame;
  /** Whether white space before a word is a token of its own. */
  readonly #hasSpaces: boolean;
  readonly #isByteLevel: boolean;

  constructor(
    tokenizer: { readonly pre_tokenizer?: unknown },
    config: object,
    frame: Frame,
  ) {
    const kinds = JSON.stringify(tokenizer.pre_tokenizer ?? null);
    this.#hasSpaces = !kinds.includes('"WhitespaceSplit"');
    this.#isByteLevel = kinds.includes('"ByteLevel"');
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

  /**
   * The windows of a text whose words are read one by one. A word is read where
   * it starts with a token: where the tokens of the preceding text are the
   * first ones of the whole text.
   *
   * @param form How the text is cut into words
   * @throws As {@linkcode encode}, and for a pair.
   */
  encodeWords(
    text: Input,
    form: WordForm | undefined,
    maxLength: number,
    index: number,
  ) {
    if (typeof text === "object" && typeof text?.pair === "string") {
      throw new TypeError(
        `Text ${
          index + 1
        } is a pair, and this adapter finds entities in single texts`,
      );
    }
    const ids = this.#idsOf(text, index);
    const words = wordsIn(text as string, form);
    /**
     * The first token, from a given one on, that is not white space. A
     * character of white space has up to three tokens.
     */
    const behindSpace = (token: number) => {
      for (let end = token + 1; end <= token + 3 && end <= ids.length; end++) {
        const part = this.#tokenizer.decode(ids.slice(token, end));
        if (part.trim() === "") token = end;
      }
      return token;
    };
    const isFirstSpace = this.#isByteLevel && /^\s/.test(text as string);
    const firsts: FirstToken[] = [];
    // From a word on, or from the white space before it, a text mostly has the
    // tokens that it has in the whole.
    let ofWord: [start: number, token: number] = [0, 0];
    let ofSpace: [start: number, token: number] = [0, 0];
    let left = MAX_AGAIN;
    words.forEach(([start], word) => {
      const firstFrom = ([from, done]: readonly [number, number]) => {
        if (left < 0) return undefined;
        left -= start - from;
        const before = (text as string).slice(from, start).trimEnd();
        const idsBefore = before === "" ? [] : this.#tokensOf(before);
        if (idsBefore.some((id, i) => id !== ids[done + i])) return undefined;
        const token = done + idsBefore.length;
        const mayBeSpace = before !== "" || isFirstSpace;
        return this.#hasSpaces && mayBeSpace ? behindSpace(token) : token;
      };
      const token = firstFrom(ofWord) ?? firstFrom(ofSpace) ??
        firstFrom([0, 0]);
      if (token === undefined || token >= ids.length) return;
      // The word before has no token.
      if (token === firsts.at(-1)?.token) firsts.pop();
      firsts.push({ token, word });
      ofWord = [start, token];
      if (/\s/.test((text as string)[start - 1] ?? "")) {
        ofSpace = [start - 1, token];
      }
    });
    return { words, windows: windowsOf(ids, firsts, this.#frame, maxLength) };
  }

  #tokensOf(text: string): number[] {
    return this.#tokenizer.encode(text, { add_special_tokens: false }).ids;
  }

  #idsOf(text: unknown, index: number): number[] {
    const title = `Text ${index + 1}`;
    if (typeof text !== "string") {
      throw new TypeError(`${title} is neither a string nor { text, pair }`);
    }
    if (text.length > MAX_CHARACTERS) {
      throw new RangeError(
        `${title} has ${text.length} characters, and at most ${MAX_CHARACTERS} are taken: cut it, since the model reads a few hundred words`,
      );
    }
    return this.#tokensOf(text);
  }
}
