import { join } from "@std/path/posix/join";
import * as z from "zod";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import { writeSafetensors } from "../engine/safetensors/writer.ts";
import type { Example } from "../data/example.ts";
import type { Prediction } from "../problems/problem.ts";
import { TASK_FIELDS } from "./classes.ts";
import { jsonFile } from "./json_file.ts";
import { UsedPrecision } from "./training.ts";

/** Files of an artifact of kind `predictions`. */
export const PREDICTIONS_FILES = [
  "predictions.json",
  "predictions.safetensors",
] as const;

/** `predictions.json`: the predictions of an adapter for a split at one rank. */
const PredictionsInfo = z.strictObject({
  ...TASK_FIELDS,
  split: z.string().min(1),
  rank: z.int().positive(),
  precision: UsedPrecision,
  examples: z.int().positive(),
});

const infoFile = jsonFile("predictions.json", PredictionsInfo);

/** The predicted values, each `[examples]`, or of words with classes `[words]`. */
interface PredictionValues {
  /** Position of each example, or of the text of each word, in its source. */
  readonly index: Int32Array;
  /** Of words, their numbers in their texts. */
  readonly words?: Int32Array | undefined;
  /** Class ids or scores. */
  readonly predictions: Float32Array;
}

/** Writes an artifact of kind `predictions`. */
export async function writePredictions(
  folder: string,
  info: Omit<z.output<typeof PredictionsInfo>, "examples">,
  { index, words, predictions }: PredictionValues,
): Promise<void> {
  const path = join(folder, "predictions.safetensors");
  writeSafetensors(path, { index, predictions, ...words && { words } });
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
export interface Classification {
  readonly task: string;
  readonly problem: string;
  readonly method: string;
  readonly rank: number;
  /** Whether a report recommends the rank. */
  readonly recommended: boolean;
  readonly precision: z.output<typeof UsedPrecision>;
  /** In the order of the texts. */
  readonly texts: readonly (Pick<Example, "text" | "pair"> & Prediction)[];
}
