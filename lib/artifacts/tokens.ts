import { join } from "node:path";
import { z } from "zod";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import { writeSafetensors } from "../engine/safetensors/writer.ts";
import { digestOf, readJsonFile, writeJsonFile } from "./json_file.ts";
import { readSequenceLimits } from "./model.ts";

/** `tokens.json` of an artifact of kind `tokens`; each split lies beside it as `SPLIT.safetensors`. */
const TokensInfo = z.strictObject({
  /** Name of the GLUE task, or the user's own name for the data. */
  task: z.string().min(1),
  /** Class names in the order of their numbers; null if the task is a regression. */
  labels: z.array(z.string()).min(2).nullable(),
  /** Longest sequence allowed, special tokens included. */
  maxLength: z.int().positive(),
  /** Token that fills a batch up to equal lengths; the stored sequences hold none. */
  padId: z.int().nonnegative(),
  vocabSize: z.int().positive(),
  /** SHA-256 of the `tokenizer.json` that made them. */
  tokenizer: z.string().regex(/^[0-9a-f]{64}$/),
  splits: z.record(
    z.string().regex(/^[a-z_]+$/),
    z.strictObject({
      examples: z.int().positive(),
      /** Tokens of all examples together. */
      tokens: z.int().positive(),
      /** Tokens of the longest example. */
      longest: z.int().positive(),
    }),
  ),
});

export type TokensInfo = z.output<typeof TokensInfo>;

/** The token sequences of a split, one behind the other, without padding. */
export interface TokenizedSplit {
  /** Token ids, `[tokens]`. */
  readonly ids: Int32Array;
  /** Token types, 1 for the second text of a pair where the model tells them apart, `[tokens]`. */
  readonly types: Uint8Array;
  /** Example `i` is `ids[offsets[i]]` up to `ids[offsets[i + 1]]`, `[examples + 1]`. */
  readonly offsets: Int32Array;
  /** Number of each example in its source, `[examples]`. */
  readonly index: Int32Array;
  /** Class numbers or scores, `[examples]`; absent in a test set. */
  readonly labels?: Float32Array;
}

/** Writes an artifact of kind `tokens`. */
export async function writeTokens(
  folder: string,
  info: Omit<TokensInfo, "splits">,
  splits: Readonly<Record<string, TokenizedSplit>>,
): Promise<void> {
  const counts: TokensInfo["splits"] = {};
  for (const [name, split] of Object.entries(splits)) {
    const tensors = Object.entries(split).map(([tensor, values]) =>
      [tensor, { shape: [values.length], values }] as const
    );
    writeSafetensors(
      join(folder, `${name}.safetensors`),
      Object.fromEntries(tensors),
    );
    counts[name] = countTokens(split);
  }
  await writeJsonFile(
    join(folder, "tokens.json"),
    TokensInfo.parse({ ...info, splits: counts }),
  );
}

/** Reads what an artifact of kind `tokens` says of itself. */
export function readTokensInfo(folder: string): Promise<TokensInfo> {
  return readJsonFile(join(folder, "tokens.json"), TokensInfo);
}

/**
 * Reads a split of an artifact of kind `tokens`.
 *
 * @throws {SyntaxError} If there is no such split, or the file is not what `tokens.json` says.
 */
export function readTokens(
  folder: string,
  info: TokensInfo,
  split: string,
): TokenizedSplit {
  if (!Object.hasOwn(info.splits, split)) {
    throw new SyntaxError(
      `The tokens of "${info.task}" have no split "${split}"; they have ${
        Object.keys(info.splits).map((name) => `"${name}"`).join(", ")
      }`,
    );
  }
  const path = join(folder, `${split}.safetensors`);
  using file = SafetensorsFile.open(path);
  const read: TokenizedSplit = {
    ids: file.ints("ids"),
    types: file.bytes("types"),
    offsets: file.ints("offsets"),
    index: file.ints("index"),
    ...(file.tensors.has("labels") && { labels: file.floats("labels") }),
  };
  const fault = findFault(read, info, split);
  if (fault === undefined) return read;
  throw new SyntaxError(`"${path}" does not fit "tokens.json": ${fault}`);
}

function countTokens({ ids, offsets }: TokenizedSplit) {
  let longest = 0;
  for (let i = 1; i < offsets.length; i++) {
    longest = Math.max(longest, offsets[i]! - offsets[i - 1]!);
  }
  return { examples: offsets.length - 1, tokens: ids.length, longest };
}

function findFault(
  { ids, types, offsets, index, labels }: TokenizedSplit,
  info: TokensInfo,
  split: string,
): string | undefined {
  const { examples, tokens, longest } = info.splits[split]!;
  if (ids.length !== tokens || types.length !== tokens) {
    return `expected ${tokens} tokens, found ${ids.length} ids and ${types.length} types`;
  }
  if (
    offsets.length !== examples + 1 || index.length !== examples ||
    labels && labels.length !== examples
  ) {
    return `expected ${examples} examples`;
  }
  if (offsets[0] !== 0 || offsets[examples] !== tokens) {
    return `its offsets do not span ${tokens} tokens`;
  }
  for (let i = 0; i < examples; i++) {
    const length = offsets[i + 1]! - offsets[i]!;
    if (length < 1 || length > longest || length > info.maxLength) {
      return `example ${i} is ${length} tokens long`;
    }
  }
  const foreign = ids.find((id) => id < 0 || id >= info.vocabSize);
  if (foreign !== undefined) {
    return `token ${foreign} is not in the vocabulary of ${info.vocabSize}`;
  }
  const { labels: names } = info;
  const wrong = labels?.find((label) =>
    names ? !(label in names) : !Number.isFinite(label)
  );
  return wrong === undefined ? undefined : `label ${wrong} is not allowed`;
}

/**
 * Reads what an artifact of kind `tokens` says of itself, and makes sure that
 * a model reads them as they were meant: token numbers mean nothing to another
 * tokenizer, even where they are in its vocabulary.
 *
 * @param model Folder of the model, whose tokenizer lies beside it
 * @throws {TypeError} If the tokens were made for another model.
 */
export async function readFittingTokens(
  folder: string,
  model: string,
): Promise<TokensInfo> {
  const info = await readTokensInfo(folder);
  const limits = await readSequenceLimits(model);
  const remedy = "connect tokens that were made with this model";
  if (info.tokenizer !== await digestOf(join(model, "tokenizer.json"))) {
    throw new TypeError(
      `The tokens of "${info.task}" were made by another tokenizer than the model's: ${remedy}`,
    );
  }
  if (info.maxLength > limits.maxLength) {
    throw new TypeError(
      `The tokens of "${info.task}" may be ${info.maxLength} long, but the model has positions for ${limits.maxLength}: ${remedy}`,
    );
  }
  if (info.vocabSize > limits.vocabSize) {
    throw new TypeError(
      `The tokens of "${info.task}" are of a vocabulary of ${info.vocabSize}, but the model's has ${limits.vocabSize}: ${remedy}`,
    );
  }
  return info;
}
