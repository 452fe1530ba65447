import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { EncoderConfig } from "../../lib/engine/config.ts";
import {
  type TensorValues,
  writeSafetensors,
} from "../../lib/engine/safetensors/writer.ts";
import { readJsonFile, writeJsonFile } from "./json_file.ts";
import { MODEL_EXTRA_FILES } from "./model.ts";

/** A model with a head for the classification of sequences. */
export interface ClassifierModel {
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
