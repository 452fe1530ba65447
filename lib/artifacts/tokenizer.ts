import { join } from "@std/path/posix/join";
import { tokenizerDefaults } from "../engine/models/registry.ts";
import { digest as sha256 } from "../files/digest.ts";
import { readTokenizerFiles } from "../text/tokenizer_files.ts";
import { digestOf, exists, readAsWritten, writeJsonFile } from "./json_file.ts";
import { MODEL_EXTRA_FILES, readModel } from "./model.ts";

/** What the architecture of the model in a folder says about its tokenizer. */
export function tokenizerDefaultsOf(folder: string) {
  return tokenizerDefaults(readModel(folder).architecture);
}

/**
 * SHA-256 of all on which the token ids and types of a model depend: that of
 * `tokenizer.json`, unless the other files change something in it. Texts to
 * write depend on the chat template and the special tokens as well.
 */
export async function tokenizerDigest(
  folder: string,
  problem?: string,
): Promise<string> {
  const defaults = tokenizerDefaultsOf(folder);
  const files = await readTokenizerFiles(folder, defaults);
  const { path, changes, pairType, chatTemplate, specialTokens } = files;
  const digest = await digestOf(path);
  const differences = {
    ...changes,
    ...(pairType !== defaults.pairType && { pairType }),
    ...(problem === "language" &&
      { chatTemplate: chatTemplate?.source, specialTokens }),
  };
  if (Object.keys(differences).length === 0) return digest;
  return await sha256(digest + JSON.stringify(differences));
}

/**
 * Copies the tokenizer of a model to a folder where `AutoTokenizer` of
 * transformers, without the model's `config.json`, gives the same tokens and
 * token types as `tokenize`, and truncates texts as a training did.
 *
 * @param maxLength Tokens to which the texts of the training were truncated;
 * null if unknown
 */
export async function copyTokenizer(
  from: string,
  to: string,
  maxLength: number | null,
): Promise<void> {
  for (const name of ["tokenizer.json", ...MODEL_EXTRA_FILES]) {
    const path = join(from, name);
    if (exists(path)) await Deno.copyFile(path, join(to, name));
  }
  const defaults = tokenizerDefaultsOf(from);
  const { neededConfig } = await readTokenizerFiles(from, defaults);
  const needed = {
    ...neededConfig,
    ...(maxLength !== null && { model_max_length: maxLength }),
  };
  const path = join(to, "tokenizer_config.json");
  const config = exists(path) ? await readAsWritten(path) : {};
  const isThere = Object.entries(needed).every(([key, value]) =>
    JSON.stringify(config[key]) === JSON.stringify(value)
  );
  if (!isThere) await writeJsonFile(path, { ...config, ...needed });
}
