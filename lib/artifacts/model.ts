import { join } from "@std/path/posix/join";
import * as z from "zod";
import type { HeadName, Model } from "../engine/models/model.ts";
import { withHead } from "../engine/models/outline.ts";
import { parseModel } from "../engine/models/registry.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import { jsonFile } from "./json_file.ts";

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
  "chat_template.jinja",
] as const;

/** File with the {@linkcode ModelOrigin} of a fetched model; absent from models that stages made. */
export const MODEL_ORIGIN_FILE = "origin.json";

const ModelOrigin = z.strictObject({
  /** Name at the source: `FacebookAI/roberta-base`, `pypi:NAME==VERSION` or the name of a folder. */
  name: z.string().min(1),
  /** Requested revision of the hub repository; null for the default revision and for other sources. */
  revision: z.string().min(1).nullable(),
});

/** Origin of a model, as the configuration of an adapter names its base model. */
export type ModelOrigin = z.output<typeof ModelOrigin>;

/** The origin of the model in a folder, if one is recorded. */
export const { find: findModelOrigin, write: writeModelOrigin } = jsonFile(
  MODEL_ORIGIN_FILE,
  ModelOrigin,
);

/**
 * Describes the model in a folder by its `config.json`.
 *
 * @param head The head that is used of it
 * @throws {SyntaxError} Naming the file and every fault, if it is not of a supported model.
 */
export function readModel(
  folder: string,
  head: HeadName = "sequence",
): Model {
  const path = join(folder, "config.json");
  return withHead(parseModel(Deno.readTextFileSync(path), path), head);
}

/** Opens the weights of the model in a folder. */
export function openWeights(folder: string): SafetensorsFile {
  return SafetensorsFile.open(join(folder, "model.safetensors"));
}
