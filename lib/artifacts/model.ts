import { join } from "node:path";
import { z } from "zod";
import { readJsonFile, writeJsonFile } from "./json_file.ts";

/** Files of every artifact of kind `model`: a model folder as transformers writes it. */
export const MODEL_FILES = [
  "config.json",
  "model.safetensors",
  "tokenizer.json",
] as const;

/** Further files of transformers that are copied when the source has them. */
export const MODEL_EXTRA_FILES = [
  "tokenizer_config.json",
  "special_tokens_map.json",
  "vocab.txt",
  "vocab.json",
  "merges.txt",
] as const;

/** File with the {@linkcode ModelOrigin} of a fetched model; absent from models that stages made. */
export const MODEL_ORIGIN_FILE = "origin.json";

const ModelOrigin = z.strictObject({
  /** Name at the source: `FacebookAI/roberta-base`, `pypi:NAME==VERSION` or the name of a folder. */
  name: z.string().min(1),
  /** Requested revision of the hub repository; null for the default revision and for other sources. */
  revision: z.string().min(1).nullable(),
});

/** Where a model came from, as the configuration of an adapter names its base model. */
export type ModelOrigin = z.output<typeof ModelOrigin>;

/** Records the origin of the model in a folder. */
export async function writeModelOrigin(
  folder: string,
  origin: ModelOrigin,
): Promise<void> {
  await writeJsonFile(
    join(folder, MODEL_ORIGIN_FILE),
    origin,
    ModelOrigin,
  );
}

/** Reads the origin of a model; undefined if none is recorded. */
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
      } is not supported; use a BERT or RoBERTa model`,
  }),
  vocab_size: z.int().positive(),
  max_position_embeddings: z.int().positive(),
  pad_token_id: z.int().nonnegative().optional(),
});

/** The token sequences that a model accepts. */
export interface SequenceLimits {
  readonly family: "bert" | "roberta";
  readonly vocabSize: number;
  readonly padId: number;
  /** Longest sequence with position embeddings, special tokens included. */
  readonly maxLength: number;
}

/**
 * Reads from `config.json` which token sequences a model accepts.
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
    // RoBERTa's positions start at padId + 1, as in fairseq.
    maxLength: config.max_position_embeddings - (roberta ? padId + 1 : 0),
  };
}
