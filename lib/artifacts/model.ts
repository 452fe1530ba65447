import { join } from "@std/path/posix/join";
import * as z from "zod";
import type { HeadName, Model } from "../engine/models/model.ts";
import { withHead } from "../engine/models/outline.ts";
import {
  DEFAULT_POOLING,
  parsePooling,
  type Pooling,
  POOLING_FILES,
  withPooling,
} from "../engine/models/pooling.ts";
import { parseModel } from "../engine/models/registry.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import { exists, jsonFile } from "./json_file.ts";

/**
 * Files of every artifact of kind `model`: a model folder as transformers
 * writes it.
 */
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

/**
 * File with the {@linkcode ModelOrigin} of a fetched model; absent from models
 * that stages made.
 */
export const MODEL_ORIGIN_FILE = "origin.json";

const ModelOrigin = z.strictObject({
  /**
   * Name at the source: `FacebookAI/roberta-base`, `pypi:NAME==VERSION` or the
   * name of a folder.
   */
  name: z.string().min(1),
  /**
   * Requested revision of the hub repository; null for the default revision and
   * for other sources.
   */
  revision: z.string().min(1).nullable(),
});

/**
 * Origin of a model, as the configuration of an adapter names its base model.
 */
export type ModelOrigin = z.output<typeof ModelOrigin>;

/** The origin of the model in a folder, if one is recorded. */
export const { find: findModelOrigin, write: writeModelOrigin } = jsonFile(
  MODEL_ORIGIN_FILE,
  ModelOrigin,
);

/**
 * Describes the model in a folder by its `config.json`, and for embeddings by
 * what says how its tokens are pooled ({@linkcode readPooling}).
 *
 * @param head The head that is used of it
 * @throws {SyntaxError} Naming the file and every fault, if it is not of a
 * supported model.
 */
export function readModel(
  folder: string,
  head: HeadName = "sequence",
): Model {
  const path = join(folder, "config.json");
  const model = parseModel(Deno.readTextFileSync(path), path);
  return head === "embedding"
    ? withPooling(model, readPooling(folder).mode)
    : withHead(model, head);
}

/**
 * How the model in a folder makes embeddings of its tokens.
 *
 * @returns `isDefault` if the folder does not say it
 * @throws {SyntaxError} If it has modules or a pooling that are not supported,
 * or only one of the two files.
 */
export function readPooling(
  folder: string,
): Pooling & { readonly isDefault: boolean } {
  const missing = POOLING_FILES.filter((name) => !exists(join(folder, name)));
  const [file, other] = missing;
  if (file === undefined) {
    const [modules, config] = POOLING_FILES.map((name) =>
      Deno.readTextFileSync(join(folder, name))
    );
    return { ...parsePooling(modules!, config!), isDefault: false };
  }
  if (other !== undefined) return { ...DEFAULT_POOLING, isDefault: true };
  throw new SyntaxError(
    `"${folder}" has no "${file}", but the other file that says how embeddings are made: ${
      POOLING_FILES.join(" and ")
    } belong together; add it, or remove the other one to take the mean of all tokens`,
  );
}

/** How embeddings are made of the tokens of the model in a folder, in words. */
export function poolingInWords(folder: string): string {
  const { mode, normalizes, isDefault } = readPooling(folder);
  const tokens = {
    mean: "the mean of all tokens",
    cls: "the first token",
    lasttoken: "the last token",
  };
  const what = `${tokens[mode]}${normalizes ? ", normalized" : ""}`;
  return isDefault
    ? `An embedding is ${what}, by default: the model has no ${
      POOLING_FILES[0]
    }`
    : `An embedding is ${what}, as the model's ${POOLING_FILES[0]} says`;
}

/** Opens the weights of the model in a folder. */
export function openWeights(folder: string): SafetensorsFile {
  return SafetensorsFile.open(join(folder, "model.safetensors"));
}
