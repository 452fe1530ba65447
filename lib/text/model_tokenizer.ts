import * as z from "zod";
import type { EncodedExamples, Example } from "../data/example.ts";
import { framed, type Layout } from "../serve/frame.ts";
import { TextTokenizer } from "./text_tokenizer.ts";
import {
  readTokenizerFiles,
  type TokenizerDefaults,
} from "./tokenizer_files.ts";

/** Converts texts to token ids exactly as transformers does with the same files. */
export class ModelTokenizer {
  private constructor(
    private readonly tokenizer: TextTokenizer,
    private readonly path: string,
    private readonly pairType: 0 | 1,
    private readonly maxLength: number,
  ) {}

  /**
   * Loads the tokenizer of a model folder.
   *
   * @param defaults What the model's architecture says about the tokenizer
   * @param maxLength Maximum number of tokens including special tokens; longer texts are truncated.
   * @throws {SyntaxError} If the tokenizer is invalid, or wraps texts in a way that is not supported.
   */
  static async load(
    folder: string,
    defaults: TokenizerDefaults,
    maxLength: number,
  ): Promise<ModelTokenizer> {
    const { path, settings, changes, pairType } = await readTokenizerFiles(
      folder,
      defaults,
    );
    const tokenizer = attempt(
      path,
      () => new TextTokenizer({ ...settings, ...changes }),
    );
    const separators = defaults.isFree ? 0 : separatorCount(tokenizer, path);
    return new ModelTokenizer(
      tokenizer,
      path,
      // Tokenizers with two separators between the texts give no types.
      separators === 2 ? 0 : pairType,
      maxLength,
    );
  }

  /** What surrounds a text and the texts of a pair, the token type of a second one, and whether long texts lose their beginnings. */
  get frame() {
    const { single, pair, cutsLeft } = this.tokenizer;
    return { single, pair, pairType: this.pairType, cutsLeft };
  }

  /**
   * Encodes a text or a pair of texts, truncated like `truncation="longest_first"`
   * of transformers, on the side that the files say.
   *
   * @throws {SyntaxError} If `tokenizer.json` is invalid in a part that this text needs.
   */
  encode(text: string, pair?: string) {
    const texts = pair === undefined ? [text] : [text, pair];
    const ids = texts.map((it) => this.#idsOf(it));
    return framed(ids, this.frame, this.maxLength);
  }

  /**
   * Encodes examples, all with labels or all without.
   *
   * @param vocabSize Size of the model's vocabulary.
   * @param onExample Called after each example is encoded.
   * @returns The encoded examples, and how many of them were truncated.
   * @throws {SyntaxError} As {@linkcode encode}.
   * @throws {RangeError} If a token is not in the model's vocabulary, or only some examples have a label.
   */
  encodeAll(
    examples: readonly Example[],
    vocabSize: number,
    onExample: () => void = () => {},
  ): [encoded: EncodedExamples, truncated: number] {
    const labels = examples.flatMap(({ label }) => label ?? []);
    if (labels.length > 0 && labels.length < examples.length) {
      throw new RangeError(
        `Only ${labels.length} of ${examples.length} examples have a label`,
      );
    }
    const offsets = new Int32Array(examples.length + 1);
    const encodings = examples.map(({ text, pair }, i) => {
      const encoding = this.encode(text, pair);
      const unknown = encoding.ids.find((id) => id >= vocabSize);
      if (unknown !== undefined) {
        throw new RangeError(
          `The tokenizer gives token ${unknown} for text ${
            i + 1
          }, but the model's vocabulary has only ${vocabSize} tokens; use the tokenizer of the same model`,
        );
      }
      offsets[i + 1] = offsets[i]! + encoding.ids.length;
      onExample();
      return encoding;
    });
    const ids = new Int32Array(offsets.at(-1)!);
    const types = new Uint8Array(ids.length);
    for (const [i, encoding] of encodings.entries()) {
      ids.set(encoding.ids, offsets[i]);
      types.set(encoding.types, offsets[i]);
    }
    const index = Int32Array.from(examples, ({ index }) => index);
    return [
      {
        ids,
        types,
        offsets,
        index,
        ...(labels.length > 0 && { labels: Float32Array.from(labels) }),
      },
      encodings.filter((it) => it.truncated).length,
    ];
  }

  #idsOf(text: string): number[] {
    return attempt(this.path, () => this.tokenizer.encode(text));
  }
}

/**
 * Number of separators between the texts of a pair by the post-processor of
 * `tokenizer.json`, which encoders of one architecture need not share.
 *
 * @throws {SyntaxError} If it wraps texts in a way that no supported encoder does.
 */
function separatorCount(
  { single, pair }: TextTokenizer,
  path: string,
): number {
  const [start] = single;
  const separator = single.at(-1);
  if (typeof start !== "number" || typeof separator !== "number") {
    throw new SyntaxError(
      `The tokenizer "${path}" adds no special tokens to a text; use the tokenizer.json of the model`,
    );
  }
  const equal = (a: Layout, b: Layout) => a.join() === b.join();
  const between = [[separator], [separator, separator], [separator, start]]
    .find((ids) => equal(pair, [start, "A", ...ids, "B", separator]));
  if (!equal(single, [start, "A", separator]) || between === undefined) {
    throw new SyntaxError(
      `The tokenizer "${path}" does not place its special tokens as the supported models expect: one before the texts, the same one after each, and at most one of them once more before the second; use the tokenizer.json of the model`,
    );
  }
  return between.filter((id) => id === separator).length;
}

/** Adds the path of the settings to errors about them. */
function attempt<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const message = error instanceof z.ZodError
      ? error.issues.map(({ path, message }) =>
        `"${path.join(".")}": ${message}`
      ).join("; ")
      : error instanceof Error
      ? error.message
      : String(error);
    throw new SyntaxError(
      `Cannot use the tokenizer "${path}": ${message.slice(0, 500)}`,
      { cause: error },
    );
  }
}
