import { join } from "@std/path/posix/join";
import * as z from "zod";
import {
  type TensorValues,
  writeSafetensors,
} from "../engine/safetensors/writer.ts";
import { type Bound, BOUNDS } from "../engine/schedules/registry.ts";
import type { ProblemFields } from "../problems/problem.ts";
import { problemOf } from "../problems/registry.ts";
import { TASK_FIELDS } from "./classes.ts";
import { jsonFile, readAsWritten, writeJsonFile } from "./json_file.ts";
import { MODEL_FILES, readModel } from "./model.ts";
import { writeSentenceModules } from "./sentence_encoder.ts";
import { copyTokenizer } from "./tokenizer.ts";
import { type Epoch, noBestEpoch, RUN_FIELDS } from "./training.ts";

/**
 * Files of an artifact of kind `classifier`: a model folder with a
 * classification head, as transformers writes it.
 */
export const CLASSIFIER_FILES = [...MODEL_FILES, "training.json"] as const;

/**
 * `training.json` of a classifier: how a model was trained without adapters.
 */
export const ClassifierTraining = z.strictObject({
  /** Whether only the head was trained, or all weights. */
  method: z.enum(Object.keys(BOUNDS) as Bound[]),
  ...TASK_FIELDS,
  seed: z.int().nonnegative(),
  ...RUN_FIELDS,
});

export type ClassifierTraining = z.output<typeof ClassifierTraining>;

const trainingFile = jsonFile("training.json", ClassifierTraining);

/** Reads `training.json` of an artifact of kind `classifier`. */
export const readClassifierTraining = trainingFile.read;

/** A model with the head of a problem. */
interface ClassifierModel extends ProblemFields {
  /**
   * Tokens to which the texts of its training were truncated; null if unknown.
   */
  readonly maxLength: number | null;
  /** Tensors by their names in transformers. */
  readonly tensors: Readonly<Record<string, TensorValues>>;
}

/**
 * Writes an artifact of kind `classifier`.
 *
 * @param model Folder of the model that was trained
 * @param best Tensors after the best epoch, if training selected one; written
 * as the model folder `best`
 */
export async function writeClassifier(
  folder: string,
  model: string,
  { training, best, ...trained }:
    & Pick<ClassifierModel, "tensors">
    & {
      readonly training: ClassifierTraining;
      readonly best?: ClassifierModel["tensors"] | undefined;
    },
): Promise<void> {
  const fullModel = { ...training, ...trained };
  await writeClassifierModel(folder, model, fullModel);
  if (best !== undefined) {
    const subfolder = join(folder, "best");
    await Deno.mkdir(subfolder);
    await writeClassifierModel(subfolder, model, {
      ...fullModel,
      tensors: best,
    });
  }
  await trainingFile.write(folder, training);
}

/**
 * The model folder of an artifact of kind `classifier` after an epoch.
 *
 * @throws {Error} If the best epoch is requested and training selected none.
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

/**
 * Writes a model folder that transformers loads as the problem's class.
 *
 * @param model Folder of the original model; its configuration and tokenizer
 * are copied, with the length of the training
 */
export async function writeClassifierModel(
  folder: string,
  model: string,
  { maxLength, tensors, ...trained }: ClassifierModel,
): Promise<void> {
  const path = join(folder, "model.safetensors");
  writeSafetensors(path, tensors, { format: "pt" });
  await writeClassifierConfig(folder, model, trained);
  await copyTokenizer(model, folder, maxLength);
  if (problemOf(trained).head === "embedding") {
    await writeSentenceModules(model, folder, maxLength);
  }
}

/**
 * Writes the `config.json` of a model with the head of a problem.
 *
 * @param more Further fields
 */
export async function writeClassifierConfig(
  folder: string,
  model: string,
  labelled: ProblemFields,
  more: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const problem = problemOf(labelled);
  const { className } = readModel(model).architecture;
  const classEnd = problem.head === "embedding"
    ? "Model"
    : `For${problem.autoClass}`;
  // Transformers 5 prefers these to `torch_dtype` and `id2label`.
  const { dtype: _, num_labels: __, ...rest } = await readAsWritten(
    join(model, "config.json"),
  );
  await writeJsonFile(join(folder, "config.json"), {
    ...rest,
    architectures: [`${className}${classEnd}`],
    ...problem.config,
    torch_dtype: "float32",
    ...more,
  });
}
