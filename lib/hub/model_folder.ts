import { existsSync } from "node:fs";
import { join } from "node:path";

const MAKE_TOKENIZER =
  "Make it from the vocabulary: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)";

/** What a folder often holds instead of a file, and what helps. */
const INSTEAD: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "config.json": {
    "adapter_config.json":
      "This is an adapter, not a model: name the model that it was trained on",
  },
  "model.safetensors": {
    "model.safetensors.index.json":
      'The weights are in several files; save them as one: AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER, max_shard_size="100GB")',
    "pytorch_model.bin":
      "The weights are a Python pickle; save them as safetensors: AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER)",
  },
  "tokenizer.json": {
    "vocab.txt": MAKE_TOKENIZER,
    "vocab.json": MAKE_TOKENIZER,
  },
};

/**
 * Finds the files of a model in a local folder.
 *
 * @returns Path of each file, by name.
 * @throws {SyntaxError} Naming the file that is not there, with the remedy.
 */
export function findModelFiles(
  folder: string,
  required: readonly string[],
  optional: readonly string[],
): Map<string, string> {
  const lacking = required.find((file) => !existsSync(join(folder, file)));
  if (lacking !== undefined) {
    const [, advice] = Object.entries(INSTEAD[lacking] ?? {})
      .find(([file]) => existsSync(join(folder, file))) ?? [];
    throw new SyntaxError(
      `"${folder}" has no "${lacking}"\n${
        advice ??
          "Name a folder with config.json, model.safetensors and tokenizer.json, as save_pretrained() writes them"
      }`,
    );
  }
  return new Map(
    [...required, ...optional]
      .map((file) => [file, join(folder, file)] as const)
      .filter(([, path]) => existsSync(path)),
  );
}
