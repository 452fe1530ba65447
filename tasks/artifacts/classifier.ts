import { join } from "node:path";
import { z } from "zod";
import {
  type ClassifierModel,
  writeClassifierModel,
} from "./classifier_files.ts";
import { readJsonFile, writeJsonFile } from "./json_file.ts";
import { MODEL_FILES } from "./model.ts";
import { Training } from "./training.ts";

/** Files of an artifact of kind `classifier`: a model folder with its head, as transformers writes it. */
export const CLASSIFIER_FILES = [...MODEL_FILES, "training.json"] as const;

const { shape } = Training;

/** `training.json` of a classifier: what the training of an adapter has, without what only adapters have. */
export const ClassifierTraining = z.strictObject({
  /** Whether the head alone was trained, or all weights. */
  method: z.enum(["head", "full"]),
  task: shape.task,
  labels: shape.labels,
  seed: shape.seed,
  epochs: shape.epochs,
  steps: shape.steps,
  batchSize: shape.batchSize,
  padding: shape.padding,
  learningRate: shape.learningRate,
  weightDecay: shape.weightDecay,
  warmupRatio: shape.warmupRatio,
  precision: shape.precision,
  engine: shape.engine,
  examples: shape.examples,
  tokens: shape.tokens,
  paddedTokens: shape.paddedTokens,
  flops: shape.flops,
  losses: shape.losses,
});

export type ClassifierTraining = z.output<typeof ClassifierTraining>;

/**
 * Writes an artifact of kind `classifier`.
 *
 * @param model Folder of the model that it was trained from
 */
export async function writeClassifier(
  folder: string,
  model: string,
  classifier: Omit<ClassifierModel, "labels">,
  training: ClassifierTraining,
): Promise<void> {
  await writeClassifierModel(folder, model, {
    ...classifier,
    labels: training.labels,
  });
  await writeJsonFile(
    join(folder, "training.json"),
    ClassifierTraining.parse(training),
  );
}

/** Reads how an artifact of kind `classifier` was trained. */
export function readClassifierTraining(
  folder: string,
): Promise<ClassifierTraining> {
  return readJsonFile(join(folder, "training.json"), ClassifierTraining);
}
