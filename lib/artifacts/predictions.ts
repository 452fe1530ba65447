import { join } from "@std/path/posix/join";
import * as z from "zod";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import { writeSafetensors } from "../engine/safetensors/writer.ts";
import { PROBLEMS } from "../problems/registry.ts";
import { TASK_FIELDS } from "./classes.ts";
import { jsonFile } from "./json_file.ts";
import { UsedPrecision } from "./training.ts";

/** Files of an artifact of kind `predictions`. */
export const PREDICTIONS_FILES = [
  "predictions.json",
  "predictions.safetensors",
] as const;

/**
 * `predictions.json`: the predictions of an adapter for a split at one rank.
 */
const PredictionsInfo = z.strictObject({
  ...TASK_FIELDS,
  split: z.string().min(1),
  rank: z.int().positive(),
  precision: UsedPrecision,
  examples: z.int().positive(),
});

const infoFile = jsonFile("predictions.json", PredictionsInfo);

/** Predictions of units: of examples, or of words with classes. */
interface PredictionValues {
  /**
   * Position of each example, or of the text of each word, in its source,
   * `[units]`.
   */
  readonly index: Int32Array;
  /** Of words, their numbers in their texts. */
  readonly words?: Int32Array | undefined;
  /**
   * A row for each unit, `[units, width]`, flat: as a rule one number, a class
   * id or a score.
   */
  readonly predictions: Float32Array;
}

/** Writes an artifact of kind `predictions`. */
export async function writePredictions(
  folder: string,
  info: Omit<z.output<typeof PredictionsInfo>, "examples">,
  { index, words, predictions }: PredictionValues,
): Promise<void> {
  const path = join(folder, "predictions.safetensors");
  const width = predictions.length / index.length;
  writeSafetensors(path, {
    index,
    predictions: width === 1
      ? predictions
      : { shape: [index.length, width], values: predictions },
    ...words && { words },
  });
  await infoFile.write(folder, { ...info, examples: new Set(index).size });
}

/** Reads an artifact of kind `predictions`. */
export async function readPredictions(folder: string) {
  const info = await infoFile.read(folder);
  using file = SafetensorsFile.open(join(folder, "predictions.safetensors"));
  return {
    ...info,
    index: file.ints("index"),
    predictions: file.floats("predictions"),
    ...file.tensors.has("words") && { wordNumbers: file.ints("words") },
  };
}

/** Files of an artifact of kind `classification`. */
export const CLASSIFICATION_FILES = ["classification.json"] as const;

/** `classification.json`: the classification of single texts at one rank. */
const Classification = z.strictObject({
  task: z.string().min(1),
  problem: z.enum(PROBLEMS),
  method: z.string().min(1),
  rank: z.int().positive(),
  /** Whether a report recommends the rank. */
  recommended: z.boolean(),
  /**
   * Of texts that may have several labels, the probability from which one is
   * predicted.
   */
  threshold: z.number().exactOptional(),
  precision: UsedPrecision,
  /** In the order of the texts. */
  texts: z.array(z.strictObject({
    text: z.string(),
    pair: z.string().optional(),
    /** Most likely class; null without classes. */
    label: z.string().nullable(),
    /** Of a text that may have several labels, those that are predicted. */
    labels: z.array(z.string()).readonly().exactOptional(),
    /** Probability of each class by name; null without classes. */
    probabilities: z.record(z.string(), z.number()).nullable(),
    /** Predicted score; null for classes. */
    score: z.number().nullable(),
    /** Of words with classes. */
    entities: z.array(z.strictObject({
      start: z.int(),
      end: z.int(),
      text: z.string(),
      label: z.string(),
      probability: z.number(),
    })).readonly().exactOptional(),
    /** Of words with classes, the class of each that has a token. */
    tags: z.array(z.strictObject({
      /** Number of the word in its text. */
      word: z.int().nonnegative(),
      tag: z.string(),
    })).readonly().exactOptional(),
    /** What the model writes after it. */
    written: z.string().exactOptional(),
  })),
});

export type Classification = z.output<typeof Classification>;

/** Writes an artifact of kind `classification`. */
export const writeClassification =
  jsonFile("classification.json", Classification).write;
