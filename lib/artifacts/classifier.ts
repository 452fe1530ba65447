import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { type Epoch, noBestEpoch, Training } from "./training.ts";
import type { EncoderConfig } from "../engine/config.ts";
import {
  type TensorValues,
  writeSafetensors,
} from "../engine/safetensors/writer.ts";
import { readJsonFile, writeJsonFile } from "./json_file.ts";
import { MODEL_EXTRA_FILES, MODEL_FILES } from "./model.ts";

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
  selection: shape.selection,
});

export type ClassifierTraining = z.output<typeof ClassifierTraining>;

/** A model that was trained without adapters. */
interface TrainedClassifier
  extends Pick<ClassifierModel, "architecture" | "tensors"> {
  readonly training: ClassifierTraining;
  /** As they were after the best epoch, where training chose one; a model folder `best`. */
  readonly best?: ClassifierModel["tensors"] | undefined;
}

/**
 * Writes an artifact of kind `classifier`.
 *
 * @param model Folder of the model that it was trained from
 */
export async function writeClassifier(
  folder: string,
  model: string,
  { architecture, tensors, best, training }: TrainedClassifier,
): Promise<void> {
  const { labels } = training;
  await writeClassifierModel(folder, model, { architecture, labels, tensors });
  if (best !== undefined) {
    const subfolder = join(folder, "best");
    await Deno.mkdir(subfolder);
    await writeClassifierModel(subfolder, model, {
      architecture,
      labels,
      tensors: best,
    });
  }
  await writeJsonFile(
    join(folder, "training.json"),
    ClassifierTraining.parse(training),
  );
}

/**
 * The model folder of an artifact of kind `classifier` after an epoch.
 *
 * @throws {TypeError} If the best is asked for and training did not choose one.
 */
export function modelFolderOf(
  folder: string,
  { selection }: Pick<ClassifierTraining, "selection">,
  epoch: Epoch,
): string {
  if (epoch === "last") return folder;
  if (selection !== null) return join(folder, "best");
  throw noBestEpoch("model");
}

/** Reads how an artifact of kind `classifier` was trained. */
export function readClassifierTraining(
  folder: string,
): Promise<ClassifierTraining> {
  return readJsonFile(join(folder, "training.json"), ClassifierTraining);
}

/** A model with a head for the classification of sequences. */
interface ClassifierModel {
  readonly architecture: EncoderConfig["architecture"];
  /** Class names in the order of their numbers; null if the task is a regression. */
  readonly labels: readonly string[] | null;
  /** By the names that transformers gives them. */
  readonly tensors: Readonly<Record<string, TensorValues>>;
}

/**
 * Writes a model folder that transformers loads as
 * `AutoModelForSequenceClassification`.
 *
 * @param model Folder of the model that it was made from, whose configuration and tokenizer it keeps
 */
export async function writeClassifierModel(
  folder: string,
  model: string,
  { architecture, labels, tensors }: ClassifierModel,
): Promise<void> {
  writeSafetensors(join(folder, "model.safetensors"), tensors, {
    format: "pt",
  });
  const config = await readJsonFile(
    join(model, "config.json"),
    z.looseObject({}),
  );
  const { dtype: _, ...rest } = config;
  const names = labels ?? ["LABEL_0"];
  await writeJsonFile(join(folder, "config.json"), {
    ...rest,
    architectures: [
      architecture === "bert"
        ? "BertForSequenceClassification"
        : "RobertaForSequenceClassification",
    ],
    id2label: Object.fromEntries(names.map((name, i) => [i, name])),
    label2id: Object.fromEntries(names.map((name, i) => [name, i])),
    problem_type: labels === null
      ? "regression"
      : "single_label_classification",
    torch_dtype: "float32",
  });
  for (const file of ["tokenizer.json", ...MODEL_EXTRA_FILES]) {
    if (existsSync(join(model, file))) {
      await Deno.copyFile(join(model, file), join(folder, file));
    }
  }
}
