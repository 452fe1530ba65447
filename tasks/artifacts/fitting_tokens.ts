import { join } from "node:path";
import { digestOf } from "./digest.ts";
import { readSequenceLimits } from "./model.ts";
import { readTokensInfo, type TokensInfo } from "./tokens.ts";

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
