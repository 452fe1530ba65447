import { join } from "node:path";
import { z } from "zod";
import { readJsonFile, writeJsonFile } from "./json_file.ts";

/** Files that every artifact of kind `model` holds: a model folder as transformers writes it. */
export const MODEL_FILES = [
  "config.json",
  "model.safetensors",
  "tokenizer.json",
] as const;

/** Files that it holds if its source has them; transformers reads them, too. */
export const MODEL_EXTRA_FILES = [
  "tokenizer_config.json",
  "special_tokens_map.json",
  "vocab.txt",
  "vocab.json",
  "merges.txt",
] as const;

/** File of a model that tells where it came from; absent from one that was made here. */
export const MODEL_ORIGIN_FILE = "origin.json";

const ModelOrigin = z.strictObject({
  /** What the model is called where it came from: `FacebookAI/roberta-base`, `pypi:NAME==VERSION`, a folder's name. */
  name: z.string().min(1),
  /** Revision of the hub's repository that was asked for; null for its default, and elsewhere. */
  revision: z.string().min(1).nullable(),
});

/** Where a model came from, as an adapter's configuration names it. */
export type ModelOrigin = z.output<typeof ModelOrigin>;

/** Writes down where the model in a folder came from. */
export async function writeModelOrigin(
  folder: string,
  origin: ModelOrigin,
): Promise<void> {
  await writeJsonFile(
    join(folder, MODEL_ORIGIN_FILE),
    ModelOrigin.parse(origin),
  );
}

/** Reads where a model came from; undefined if that is not written down. */
export async function readModelOrigin(
  folder: string,
): Promise<ModelOrigin | undefined> {
  try {
    return await readJsonFile(join(folder, MODEL_ORIGIN_FILE), ModelOrigin);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

const ModelConfig = z.looseObject({
  model_type: z.enum(["bert", "roberta"], {
    error: ({ input }) =>
      `Model type ${
        JSON.stringify(input)
      } is not supported; use a BERT or a RoBERTa model`,
  }),
  vocab_size: z.int().positive(),
  max_position_embeddings: z.int().positive(),
  pad_token_id: z.int().nonnegative().optional(),
});

/** What a model says of the token sequences that it takes. */
interface SequenceLimits {
  readonly family: "bert" | "roberta";
  readonly vocabSize: number;
  readonly padId: number;
  /** Longest sequence that has positions, special tokens included. */
  readonly maxLength: number;
}

/**
 * Reads from `config.json` which token sequences a model takes.
 *
 * @throws {SyntaxError} Naming the file, if the model is neither BERT nor RoBERTa.
 */
export async function readSequenceLimits(
  folder: string,
): Promise<SequenceLimits> {
  const config = await readJsonFile(join(folder, "config.json"), ModelConfig);
  const roberta = config.model_type === "roberta";
  const padId = config.pad_token_id ?? (roberta ? 1 : 0);
  return {
    family: config.model_type,
    vocabSize: config.vocab_size,
    padId,
    // RoBERTa counts its positions from padId + 1, as fairseq did.
    maxLength: config.max_position_embeddings - (roberta ? padId + 1 : 0),
  };
}
