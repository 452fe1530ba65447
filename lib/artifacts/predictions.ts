import { join } from "node:path";
import { z } from "zod";
import { UsedPrecision } from "./training.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import { writeSafetensors } from "../engine/safetensors/writer.ts";
import { readJsonFile, writeJsonFile } from "./json_file.ts";

/** Files of an artifact of kind `predictions`. */
export const PREDICTIONS_FILES = [
  "predictions.json",
  "predictions.safetensors",
] as const;

/** `predictions.json`: what an adapter says of a split at one rank. */
const PredictionsInfo = z.strictObject({
  /** Name of the GLUE task, or the user's own name for the data. */
  task: z.string().min(1),
  /** Class names in the order of their numbers; null if the task is a regression. */
  labels: z.array(z.string()).min(2).nullable(),
  split: z.string().min(1),
  rank: z.int().positive(),
  precision: UsedPrecision,
  examples: z.int().positive(),
});

type PredictionsInfo = z.output<typeof PredictionsInfo>;

/** The predictions themselves, each `[examples]`. */
interface PredictionValues {
  /** Number of each example in its source. */
  readonly index: Int32Array;
  /** Class numbers or scores. */
  readonly predictions: Float32Array;
}

/** Writes an artifact of kind `predictions`. */
export async function writePredictions(
  folder: string,
  info: Omit<PredictionsInfo, "examples">,
  { index, predictions }: PredictionValues,
): Promise<void> {
  const shape = [index.length];
  writeSafetensors(join(folder, "predictions.safetensors"), {
    index: { shape, values: index },
    predictions: { shape, values: predictions },
  });
  await writeJsonFile(
    join(folder, "predictions.json"),
    PredictionsInfo.parse({ ...info, examples: index.length }),
  );
}

/**
 * Reads an artifact of kind `predictions`.
 *
 * @throws {SyntaxError} If its files do not fit one another.
 */
export async function readPredictions(
  folder: string,
): Promise<PredictionsInfo & PredictionValues> {
  const info = await readJsonFile(
    join(folder, "predictions.json"),
    PredictionsInfo,
  );
  const path = join(folder, "predictions.safetensors");
  using file = SafetensorsFile.open(path);
  const index = file.ints("index");
  const predictions = file.floats("predictions");
  if (index.length !== info.examples || predictions.length !== info.examples) {
    throw new SyntaxError(
      `"${path}" does not fit "predictions.json": expected ${info.examples} examples`,
    );
  }
  return { ...info, index, predictions };
}

/** Files of an artifact of kind `classification`. */
export const CLASSIFICATION_FILES = ["classification.json"] as const;

/** `classification.json`: what an adapter says of some texts. */
const Classification = z.strictObject({
  task: z.string().min(1),
  method: z.string().min(1),
  rank: z.int().positive(),
  precision: UsedPrecision,
  /** In the order of the texts. */
  texts: z.array(z.strictObject({
    text: z.string(),
    pair: z.string().optional(),
    /** Name of the likeliest class; null if the task is a regression. */
    label: z.string().nullable(),
    /** Probability of each class by its name; null if the task is a regression. */
    probabilities: z.record(z.string(), z.number()).nullable(),
    /** The predicted value of a regression; null where there are classes. */
    score: z.number().nullable(),
  })),
});

export type Classification = z.output<typeof Classification>;

/** Writes an artifact of kind `classification`. */
export async function writeClassification(
  folder: string,
  classification: Classification,
): Promise<void> {
  await writeJsonFile(
    join(folder, "classification.json"),
    Classification.parse(classification),
  );
}
