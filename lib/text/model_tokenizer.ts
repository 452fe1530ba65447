import { Tokenizer } from "@huggingface/tokenizers";
import * as z from "zod";
import type {
  EncodedExamples,
  Example,
  LabelledWord,
} from "../data/example.ts";
import { ChatTemplate } from "./chat_template.ts";
import {
  type FirstToken,
  type Frame,
  framed,
  type FramedTokens,
  type Layout,
  windowsOf,
  type WordWindow,
} from "./frame.ts";
import { type TextTokenizer, textTokenizer } from "./text_tokenizer.ts";
import {
  readTokenizerFiles,
  type TokenizerDefaults,
  type TokenizerFiles,
} from "./tokenizer_files.ts";

/**
 * Converts texts to token ids exactly as transformers does with the same files.
 */
export class ModelTokenizer {
  #template: ChatTemplate | undefined;
  #decoder: Tokenizer | undefined;

  private constructor(
    private readonly tokenizer: TextTokenizer,
    private readonly maxLength: number,
    private readonly files: TokenizerFiles,
    private readonly date: string | undefined,
  ) {}

  /**
   * Loads the tokenizer of a model folder.
   *
   * @param defaults What the model's architecture says about the tokenizer
   * @param maxLength Maximum number of tokens including special tokens; longer
   * texts are truncated.
   * @param date What `strftime_now` gives in a chat template: `2024-07-26`
   * @throws {SyntaxError} If the tokenizer is invalid, or wraps texts in a way
   * that is not supported.
   */
  static async load(
    folder: string,
    defaults: TokenizerDefaults,
    maxLength: number,
    date?: string,
  ): Promise<ModelTokenizer> {
    const files = await readTokenizerFiles(folder, defaults);
    const { path, settings, changes } = files;
    const tokenizer = attempt(
      `tokenizer "${path}"`,
      () => textTokenizer({ ...settings, ...changes }),
    );
    const separators = defaults.isFree ? 0 : separatorCount(tokenizer, path);
    // Tokenizers with two separators between the texts give no types.
    const pairType = separators === 2 ? 0 : files.pairType;
    return new ModelTokenizer(
      tokenizer,
      maxLength,
      { ...files, pairType },
      date,
    );
  }

  /** What the tokenizer puts around texts. */
  get frame(): Frame {
    const { single, pair, cutsLeft } = this.tokenizer;
    return { single, pair, pairType: this.files.pairType, cutsLeft };
  }

  /**
   * Mean number of tokens of a word of some texts, which are not truncated. A
   * word is a run of letters and digits, or a sign by itself.
   *
   * @returns NaN for texts without words
   */
  tokensPerWord(texts: readonly string[]): number {
    const words = /[\p{L}\p{N}\p{M}]+|[^\s\p{L}\p{N}\p{M}]/gu;
    let wordCount = 0;
    let tokenCount = 0;
    for (const text of texts) {
      wordCount += text.match(words)?.length ?? 0;
      tokenCount += this.#idsOf(text).length;
    }
    return tokenCount / wordCount;
  }

  /**
   * Encodes a text or a pair of texts, truncated like
   * `truncation="longest_first"` of transformers, on the side that the files
   * say.
   *
   * @throws {SyntaxError} If `tokenizer.json` is invalid in a part that this
   * text needs.
   */
  encode(text: string, pair?: string): FramedTokens {
    const texts = pair === undefined ? [text] : [text, pair];
    const ids = texts.map((it) => this.#idsOf(it));
    return framed(ids, this.frame, this.maxLength);
  }

  /**
   * Encodes a text whose words are read one by one, cut into windows by
   * {@linkcode windowsOf}.
   *
   * @param words Positions of the words in the text, in ascending order; one
   * without tokens is read nowhere
   * @throws {SyntaxError} As {@linkcode encode}.
   */
  encodeWords(
    text: string,
    words: readonly LabelledWord[],
  ): WordWindow[] {
    const { ids, spans } = attempt(
      this.#title,
      () => this.tokenizer.encodePlaced(text),
    );
    const firsts: FirstToken[] = [];
    let word = 0;
    spans.forEach(([start, end], token) => {
      while (word < words.length && words[word]![1] <= start) word++;
      if (start < end && word < words.length && words[word]![0] < end) {
        firsts.push({ token, word });
        word++;
      }
    });
    return windowsOf(ids, firsts, this.tokenizer, this.maxLength);
  }

  /**
   * The tokens of a prompt: a text, or the messages of a conversation as the
   * model's template renders them, up to what the assistant says next. Both are
   * as transformers has them.
   *
   * @throws {SyntaxError} If the model has no template, or it refuses the
   * messages.
   */
  encodePrompt(
    { text, messages }: Pick<Example, "text" | "messages">,
  ): number[] {
    if (messages) {
      return this.#idsOf(this.#chat((it) => it.render(messages, true)));
    }
    const { single } = this.tokenizer;
    const before = single.slice(0, single.indexOf("A")) as number[];
    return [...before, ...this.#idsOf(text)];
  }

  /**
   * Encodes a prompt with a text that may follow it, up to the token that ends
   * it. Where both are too long, the prompt loses its beginning, up to its last
   * token, and then the text its end.
   *
   * @returns The tokens, the index of the one before each token to write, and
   * the ids of these
   * @throws {SyntaxError} As {@linkcode encodePrompt}, or if the tokenizer has
   * no token that ends a text.
   */
  encodeCompletion(
    prompt: Pick<Example, "text" | "messages">,
    completion: string,
  ) {
    const all = this.encodePrompt(prompt);
    const written = this.#completionOf(prompt, completion);
    const kept = Math.max(1, this.maxLength - written.length);
    const before = all.slice(Math.max(0, all.length - kept));
    const after = written.slice(0, Math.max(0, this.maxLength - before.length));
    // Nothing foretells the first token of all.
    const first = Math.max(1, before.length);
    const ids = [...before, ...after];
    return {
      ids,
      readAt: ids.slice(first).map((_, i) => first + i - 1),
      labels: ids.slice(first),
      truncated: ids.length < all.length + written.length,
      /** True if the text has lost its end. */
      isCut: after.length < written.length,
    };
  }

  /** The tokens of a text after a prompt, and the end. */
  #completionOf(
    { messages }: Pick<Example, "messages">,
    completion: string,
  ): number[] {
    const end = this.ends(messages !== undefined)[0]!;
    if (messages === undefined) return [...this.#idsOf(completion), end];
    const { prompt } = this.#chat((it) => it.around(messages));
    const answer = { role: "assistant", content: completion };
    const all = this.#chat((it) => it.render([...messages, answer], false));
    if (!all.startsWith(prompt)) {
      throw new SyntaxError(
        `The chat template in "${
          this.#template!.path
        }" changes what is before an answer: write "prompt" and "completion" instead of messages`,
      );
    }
    const ids = this.#idsOf(all.slice(prompt.length));
    const last = ids.lastIndexOf(end);
    // What the template puts behind it is never written.
    return last < 0 ? [...ids, end] : ids.slice(0, last + 1);
  }

  /**
   * The tokens that end a text, first the one that is trained: the first
   * special one that the chat template puts behind an answer if texts are
   * answers, then the one that the tokenizer names.
   *
   * @throws {SyntaxError} If there is none.
   */
  ends(isChat: boolean): readonly number[] {
    const { eos_token = "" } = this.files.specialTokens;
    const named = this.#idsOf(eos_token);
    const ofTemplate = this.#idsOf(isChat ? this.#aroundAnswer().after : "")
      .find((id) => this.tokenizer.special.has(id));
    const ends = [ofTemplate, ...named.length === 1 ? named : []]
      .filter((id) => id !== undefined);
    if (ends.length > 0) return [...new Set(ends)];
    throw new SyntaxError(
      `The tokenizer "${this.files.path}" has no token that ends a text: name one as "eos_token" in its tokenizer_config.json`,
    );
  }

  /**
   * The text of tokens that a model has written, as transformers decodes those
   * of BPE: without special ones, and with all spaces. An answer is without
   * what the chat template puts before one, such as a block for thoughts
   * without any.
   */
  decode(ids: readonly number[], isChat = false): string {
    const { settings } = this.files;
    this.#decoder ??= attempt(this.#title, () => new Tokenizer(settings, {}));
    const text = ids.length === 0 ? "" : this.#decoder.decode([...ids], {
      skip_special_tokens: true,
      clean_up_tokenization_spaces: false,
    });
    if (!isChat) return text;
    const before = this.decode(this.#idsOf(this.#aroundAnswer().before));
    return text.startsWith(before) ? text.slice(before.length) : text;
  }

  /** What the chat template puts before an answer, and after it. */
  #aroundAnswer() {
    return this.#chat((it) => it.around([{ role: "user", content: "?" }]));
  }

  /** Uses the template of the model for conversations. */
  #chat<T>(use: (template: ChatTemplate) => T): T {
    const { path, chatTemplate, specialTokens } = this.files;
    if (chatTemplate === undefined) {
      throw new SyntaxError(
        `The tokenizer "${path}" has no chat template for messages: choose a model that has one, or write "prompt" and "completion"`,
      );
    }
    const { source } = chatTemplate;
    return attempt(`chat template in "${chatTemplate.path}"`, () => {
      this.#template ??= new ChatTemplate(
        source,
        chatTemplate.path,
        specialTokens,
        this.date,
      );
      return use(this.#template);
    });
  }

  /**
   * Encodes examples, all with labels or all without. One with words is as many
   * encoded examples as it has windows, and one with texts that may follow it
   * as many as these. One with texts of their own has a sequence for each.
   *
   * @param vocabSize Size of the model's vocabulary.
   * @param onExample Called after each example is encoded.
   * @returns The encoded examples, how many of them were truncated, and how
   * many texts to write have lost their ends.
   * @throws {SyntaxError} As {@linkcode encode}.
   * @throws {RangeError} If a token is not in the model's vocabulary, or only
   * some examples have a label.
   */
  encodeAll(
    examples: readonly Example[],
    vocabSize: number,
    onExample: () => void = () => {},
  ): [encoded: EncodedExamples, truncated: number, cut: number] {
    const encodings = examples.flatMap((example, i) => {
      const ofExample = this.#encodingsOf(example);
      const unknown = ofExample.flatMap(({ ids }) => ids)
        .find((id) => id >= vocabSize);
      if (unknown !== undefined) {
        throw new RangeError(
          `The tokenizer gives token ${unknown} for text ${
            i + 1
          }, but the model's vocabulary has only ${vocabSize} tokens; use the tokenizer of the same model`,
        );
      }
      onExample();
      return ofExample.map((it) => ({ ...it, index: example.index }));
    });
    const sequencesPerExample = 1 + (examples[0]?.others?.length ?? 0);
    const other = examples.find(({ others = [] }) =>
      others.length + 1 !== sequencesPerExample
    );
    if (other !== undefined) {
      throw new RangeError(
        `Example ${other.index} has ${
          other.others?.length ?? 0
        } further texts, but the first one has ${sequencesPerExample - 1}`,
      );
    }
    const targets = encodings.flatMap((
      { labels },
    ): readonly (number | undefined)[] => labels);
    const width = examples[0]?.targets?.length ?? 1;
    const labels = targets.filter((it) => it !== undefined);
    if (labels.length > 0 && labels.length < targets.length) {
      throw new RangeError(
        `Only ${labels.length} of ${targets.length} examples have a label`,
      );
    }
    const offsets = offsetsOf(encodings.map(({ ids }) => ids));
    const types = new Uint8Array(offsets.at(-1)!);
    const ids = new Int32Array(types.length);
    for (const [i, encoding] of encodings.entries()) {
      ids.set(encoding.ids, offsets[i]);
      types.set(encoding.types, offsets[i]);
    }
    const firsts = encodings.map((it) => it.firsts);
    return [
      {
        ids,
        types,
        offsets,
        index: Int32Array.from(
          encodings.filter((_, i) => i % sequencesPerExample === 0),
          ({ index }) => index,
        ),
        ...(sequencesPerExample > 1 && { sequencesPerExample }),
        ...(labels.length > 0 && { labels: Float32Array.from(labels), width }),
        ...(examples.some((it) => it.words || it.completions) && {
          words: {
            offsets: offsetsOf(firsts),
            tokens: Int32Array.from(firsts.flat(), ({ token }) => token),
            numbers: Int32Array.from(firsts.flat(), ({ word }) => word),
          },
        }),
      },
      encodings.filter((it) => it.truncated).length,
      encodings.filter((it) => "isCut" in it && it.isCut).length,
    ];
  }

  /**
   * An example as a whole and its texts of their own, its windows, or its
   * prompt with each text that may follow.
   */
  #encodingsOf(example: Example) {
    const { text, pair, words, label, completions } = example;
    const { targets = [label], others = [] } = example;
    if (completions !== undefined) {
      let written = 0;
      return completions.map((it) => {
        const { readAt, ...encoding } = this.encodeCompletion(example, it);
        const before = written;
        written += readAt.length;
        const firsts = readAt.map((token, i) => ({ token, word: before + i }));
        return { ...encoding, types: [], firsts };
      });
    }
    if (words === undefined) {
      return [
        { ...this.encode(text, pair), labels: targets, firsts: [] },
        ...others.map((other) => (
          { ...this.encode(other), labels: [], firsts: [] }
        )),
      ];
    }
    return this.encodeWords(text, words).map((window) => ({
      ...window,
      labels: window.firsts.map(({ word }) => words[word]![2]),
    }));
  }

  #idsOf(text: string): number[] {
    return attempt(this.#title, () => this.tokenizer.encode(text));
  }

  get #title(): string {
    return `tokenizer "${this.files.path}"`;
  }
}

/**
 * Where each list starts in all of them together, and where the last one ends.
 */
function offsetsOf(lists: readonly (readonly unknown[])[]): Int32Array {
  const offsets = new Int32Array(lists.length + 1);
  for (const [i, { length }] of lists.entries()) {
    offsets[i + 1] = offsets[i]! + length;
  }
  return offsets;
}

/**
 * Number of separators between the texts of a pair by the post-processor of
 * `tokenizer.json`, which encoders of one architecture need not share.
 *
 * @throws {SyntaxError} If it wraps texts in a way that no supported encoder
 * does.
 */
function separatorCount(
  { single, pair }: Pick<Frame, "single" | "pair">,
  path: string,
): number {
  const start = single[0]!;
  const separator = single.at(-1)!;
  const equal = (a: Layout, b: Layout) => a.join() === b.join();
  const between = [[separator], [separator, separator], [separator, start]]
    .find((ids) => equal(pair, [start, "A", ...ids, "B", separator]));
  const isFramed = /^\d+,A,\d+$/.test(single.join());
  if (!isFramed || between === undefined) {
    throw new SyntaxError(
      `The tokenizer "${path}" does not place its special tokens as the supported models expect: one before the texts, the same one after each, and at most one of them once more before the second; use the tokenizer.json of the model`,
    );
  }
  return between.filter((id) => id === separator).length;
}

/** Adds what cannot be used, with the path of its file, to errors about it. */
function attempt<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const message = error instanceof z.ZodError
      ? error.issues.map(({ path, message }) =>
        `"${path.join(".")}": ${message}`
      ).join("; ")
      : (error as Error).message;
    throw new SyntaxError(
      `Cannot use the ${what}: ${message.slice(0, 500)}`,
      { cause: error },
    );
  }
}
