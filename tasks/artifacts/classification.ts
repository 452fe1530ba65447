import { join } from "node:path";
import { z } from "zod";
import { writeJsonFile } from "./json_file.ts";
import { UsedPrecision } from "./precision.ts";

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
