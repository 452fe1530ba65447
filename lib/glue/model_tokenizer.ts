import { Tokenizer } from "@huggingface/tokenizers";
import { join } from "node:path";

/** A text, or a pair of them, as a model reads it. */
interface Encoding {
  /** Token ids, special tokens included. */
  readonly ids: readonly number[];
  /** Token types: 1 for the second text of a pair, where the model tells them apart. */
  readonly types: readonly number[];
}

/** Turns texts into token ids, exactly as transformers' tokenizer of the same folder does. */
export class ModelTokenizer {
  readonly #tokenizer: Tokenizer;
  readonly #first: number;
  readonly #separator: number;

  private constructor(
    tokenizer: Tokenizer,
    readonly path: string,
    readonly family: "bert" | "roberta",
    readonly maxLength: number,
  ) {
    this.#tokenizer = tokenizer;
    const ids = this.#ask("");
    if (ids.length === 0) {
      throw new SyntaxError(
        `The tokenizer "${path}" puts no special tokens around a text`,
      );
    }
    this.#first = ids[0]!;
    this.#separator = ids.at(-1)!;
  }

  /**
   * Loads `tokenizer.json` of a model folder, and `tokenizer_config.json` if it is there.
   *
   * @param family Says how the model wraps texts in special tokens.
   * @param maxLength Longest encoding, special tokens included; longer texts are cut.
   * @throws {SyntaxError} If the tokenizer cannot be read or wraps texts otherwise.
   */
  static async load(
    folder: string,
    family: "bert" | "roberta",
    maxLength: number,
  ): Promise<ModelTokenizer> {
    const path = join(folder, "tokenizer.json");
    const settings = await readJson(path);
    const config = await readJson(join(folder, "tokenizer_config.json"))
      .catch((error) => {
        if (error instanceof Deno.errors.NotFound) return {};
        throw error;
      });
    const tokenizer = new ModelTokenizer(
      inWords(path, () => new Tokenizer(settings, config)),
      path,
      family,
      maxLength,
    );
    if (!tokenizer.#wrapsAsExpected()) {
      throw new SyntaxError(
        `The tokenizer "${path}" does not put its special tokens where a ${
          family === "bert" ? "BERT" : "RoBERTa"
        } model expects them; the folder's files may come from different models`,
      );
    }
    return tokenizer;
  }

  /**
   * Encodes a text, or a pair of them.
   *
   * BERT reads `[CLS] text [SEP] pair [SEP]`, RoBERTa
   * `<s> text </s></s> pair </s>`. What is too long is cut as transformers
   * cuts it with `truncation="longest_first"`.
   *
   * @throws {SyntaxError} If the tokenizer's file is out of order in what this text needs.
   */
  encode(text: string, pair?: string): Encoding {
    const separators = this.family === "roberta" ? 2 : 1;
    const first = this.#idsOf(text);
    const second = pair === undefined ? [] : this.#idsOf(pair);
    const specials = pair === undefined ? 2 : 2 + separators;
    const room = Math.max(0, this.maxLength - specials);
    const [firstLength, secondLength] = truncatedLengths(
      first.length,
      second.length,
      room,
    );
    const ids = [this.#first, ...first.slice(0, firstLength), this.#separator];
    const types = ids.map(() => 0);
    if (pair !== undefined) {
      if (separators === 2) ids.push(this.#separator);
      ids.push(...second.slice(0, secondLength), this.#separator);
      const type = this.family === "bert" ? 1 : 0;
      while (types.length < ids.length) types.push(type);
    }
    return { ids, types };
  }

  #idsOf(text: string): number[] {
    return this.#ask(text, { add_special_tokens: false });
  }

  #ask(text: string, options: EncodeOptions = {}): number[] {
    const { ids } = inWords(
      this.path,
      () => this.#tokenizer.encode(text, options),
    );
    if (!ids.every((id) => Number.isSafeInteger(id) && id >= 0)) {
      throw new SyntaxError(
        `The tokenizer "${this.path}" has tokens without a number; its vocabulary is not whole`,
      );
    }
    return ids;
  }

  #wrapsAsExpected(): boolean {
    const unlimited = new ModelTokenizer(
      this.#tokenizer,
      this.path,
      this.family,
      Infinity,
    );
    return [undefined, "b"].every((pair) => {
      const own = unlimited.encode("a", pair).ids;
      const ids = this.#ask("a", { text_pair: pair ?? null });
      return own.length === ids.length && own.every((id, i) => id === ids[i]);
    });
  }
}

type EncodeOptions = Parameters<Tokenizer["encode"]>[1];

/** Does something with the library, which takes its settings for sound, and names their file if they are not. */
function inWords<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new SyntaxError(
      `Cannot use the tokenizer "${path}": ${message.slice(0, 500)}`,
      { cause: error },
    );
  }
}

/**
 * How many tokens of each text stay, so that both together fit.
 *
 * The longer text is cut first; if that does not do, both get half.
 *
 * @see https://github.com/huggingface/tokenizers, `truncate_encodings()`
 */
export function truncatedLengths(
  first: number,
  second: number,
  room: number,
): [first: number, second: number] {
  if (first + second <= room) return [first, second];
  const shorter = Math.min(first, second);
  const longer = Math.max(shorter, room - shorter);
  const [few, many] = shorter + longer <= room
    ? [shorter, longer]
    : [Math.floor(room / 2), Math.ceil(room / 2)];
  return first > second ? [many, few] : [few, many];
}

async function readJson(path: string): Promise<object> {
  const text = await Deno.readTextFile(path);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(
      `"${path}" is not JSON: ${(error as SyntaxError).message}`,
    );
  }
}

/** Sequences of tokens, one after the other, not padded. */
interface PackedEncodings {
  readonly ids: Int32Array;
  readonly types: Uint8Array;
  /** Sequence i is `ids[offsets[i]..offsets[i + 1])`. */
  readonly offsets: Int32Array;
}

/**
 * Puts sequences of tokens one after the other.
 *
 * @param vocabSize Number of tokens that the model knows
 * @throws {RangeError} Naming the sequence, if it has a token that the model does not know.
 */
export function packEncodings(
  encodings: readonly Encoding[],
  vocabSize: number,
): PackedEncodings {
  const offsets = new Int32Array(encodings.length + 1);
  for (const [i, { ids }] of encodings.entries()) {
    const foreign = ids.find((id) => id >= vocabSize);
    if (foreign !== undefined) {
      throw new RangeError(
        `The tokenizer makes token ${foreign} of text ${
          i + 1
        }, but the model knows ${vocabSize} tokens only: its files do not belong together`,
      );
    }
    offsets[i + 1] = offsets[i]! + ids.length;
  }
  const ids = new Int32Array(offsets.at(-1)!);
  const types = new Uint8Array(ids.length);
  for (const [i, encoding] of encodings.entries()) {
    ids.set(encoding.ids, offsets[i]);
    types.set(encoding.types, offsets[i]);
  }
  return { ids, types, offsets };
}
