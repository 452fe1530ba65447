import { join } from "@std/path/posix/join";
import * as z from "zod";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import { writeSafetensors } from "../engine/safetensors/writer.ts";
import type { EncodedExamples, LabelledExamples } from "../data/example.ts";
import { quoteAll } from "../data/text_file.ts";
import { SCORED_TASK_FIELDS } from "./classes.ts";
import { digest, jsonFile } from "./json_file.ts";
import { readModel } from "./model.ts";
import { tokenizerDigest } from "./tokenizer.ts";

/**
 * `tokens.json` of an artifact of kind `tokens`; each split is stored beside it
 * as `SPLIT.safetensors`.
 */
const TokensInfo = z.strictObject({
  ...SCORED_TASK_FIELDS,
  /** Maximum sequence length, special tokens included. */
  maxLength: z.int().positive(),
  vocabSize: z.int().positive(),
  /**
   * The {@linkcode tokenizerDigest} of the model whose tokenizer produced them.
   */
  tokenizer: digest,
  /** Number of examples by split; their tokens are stored without padding. */
  splits: z.record(
    z.string().regex(/^[a-z_]+$/),
    z.int().positive("A split has no examples: leave it out"),
  ),
});

/**
 * Name of the metric of the stage that made the tokens: the number of truncated
 * examples of a split.
 */
export function truncatedMetric(split: string): string {
  return `truncated_${split}`;
}

/**
 * Name of the metric of the stage that made the tokens: the mean number of
 * tokens of a word.
 */
export const TOKENS_PER_WORD = "tokens_per_word";

/**
 * Tokens of a word from which a text is taken to be in a language that the
 * tokenizer was not made for. Measured with the tokenizers of MiniLM and of
 * SmolLM2, which were made for English: 1.00 to 1.19 in five English data sets,
 * tweets among them, 1.5 and 1.6 in French, 2.2 in German, above 4 in Russian,
 * Japanese, Chinese and Korean.
 */
export const MANY_TOKENS_PER_WORD = 1.5;

export type TokensInfo = z.output<typeof TokensInfo>;

const infoFile = jsonFile("tokens.json", TokensInfo);

/** Reads `tokens.json` of an artifact of kind `tokens`. */
export const readTokensInfo = infoFile.read;

/** Writes an artifact of kind `tokens`. */
export async function writeTokens(
  folder: string,
  info: Omit<TokensInfo, "splits">,
  splits: Readonly<Record<string, EncodedExamples>>,
): Promise<void> {
  const counts: TokensInfo["splits"] = {};
  for (const [name, split] of Object.entries(splits)) {
    const { ids, types, offsets, index, labels, width = 1 } = split;
    const { sequencesPerExample = 1, words } = split;
    writeSafetensors(join(folder, `${name}.safetensors`), {
      ids,
      types,
      offsets,
      index,
      ...labels && {
        labels: width === 1
          ? labels
          : { shape: [labels.length / width, width], values: labels },
      },
      ...sequencesPerExample > 1 &&
        { sequences_per_example: Int32Array.of(sequencesPerExample) },
      ...words && {
        word_offsets: words.offsets,
        word_tokens: words.tokens,
        word_numbers: words.numbers,
      },
    });
    counts[name] = (offsets.length - 1) / sequencesPerExample;
  }
  await infoFile.write(folder, { ...info, splits: counts });
}

/**
 * Reads a split of an artifact of kind `tokens`.
 *
 * @throws {SyntaxError} If the split does not exist.
 */
export function readTokens(
  folder: string,
  info: TokensInfo,
  split: string,
): EncodedExamples {
  if (!Object.hasOwn(info.splits, split)) {
    throw new SyntaxError(
      `The tokens of "${info.task}" have no split "${split}"; they have ${
        quoteAll(Object.keys(info.splits))
      }`,
    );
  }
  using file = SafetensorsFile.open(join(folder, `${split}.safetensors`));
  return {
    ids: file.ints("ids"),
    types: file.bytes("types"),
    offsets: file.ints("offsets"),
    index: file.ints("index"),
    ...(file.tensors.has("labels") && {
      labels: file.floats("labels"),
      width: file.tensors.get("labels")!.shape[1] ?? 1,
    }),
    ...(file.tensors.has("sequences_per_example") && {
      sequencesPerExample: file.ints("sequences_per_example")[0]!,
    }),
    ...(file.tensors.has("word_offsets") && {
      words: {
        offsets: file.ints("word_offsets"),
        tokens: file.ints("word_tokens"),
        numbers: file.ints("word_numbers"),
      },
    }),
  };
}

/**
 * Reads a split as {@linkcode readTokens} does, to train on it or to score it.
 *
 * @throws {Error} If it has no labels.
 */
export function readLabelledTokens(
  folder: string,
  info: TokensInfo,
  split: string,
): LabelledExamples {
  const { labels, ...tokens } = readTokens(folder, info, split);
  if (labels !== undefined) return { ...tokens, labels };
  throw new Error(
    `Split "${split}" of "${info.task}" has no labels, without which it can be neither trained on nor scored; choose a split with labels`,
  );
}

/**
 * Reads `tokens.json` and checks that the tokens were made for a model: the ids
 * of one tokenizer mean nothing to another, even if its vocabulary has them.
 *
 * @param model Folder of the model and its tokenizer
 * @throws {Error} If the tokens were made for another model.
 */
export async function readFittingTokens(
  folder: string,
  model: string,
): Promise<TokensInfo> {
  const info = await readTokensInfo(folder);
  const limits = readModel(model);
  const tokenizer = await tokenizerDigest(model, info.problem);
  const fault = info.tokenizer !== tokenizer
    ? "were made by a different tokenizer than the model's"
    : info.maxLength > limits.maxLength
    ? `have up to ${info.maxLength} tokens per sequence, but the model has ${limits.maxLength} positions`
    : info.vocabSize > limits.vocabSize
    ? `come from a vocabulary of ${info.vocabSize}, but the model's has ${limits.vocabSize}`
    : undefined;
  if (fault === undefined) return info;
  throw new Error(
    `The tokens of "${info.task}" ${fault}: tokenize the data with this model`,
  );
}
