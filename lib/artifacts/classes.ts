import * as z from "zod";
import { type MetricName, METRICS } from "../data/metrics.ts";
import { jsonFile } from "./json_file.ts";

/** Fields by which every labelled artifact names its task and its classes. */
export const TASK_FIELDS = {
  /** A task of a benchmark, or the user's own name for the data. */
  task: z.string().min(1),
  /** Class names in the order of their ids; null for a regression. */
  labels: z.array(z.string()).min(2).nullable(),
};

/** Fields by which a data set, and tokens of it, also name what models of them are scored by. */
export const SCORED_TASK_FIELDS = {
  ...TASK_FIELDS,
  /** Metrics, the main metric first. */
  metrics: z.array(z.enum(Object.keys(METRICS) as MetricName[])).min(1),
};

/** Task and classes of a trained artifact or of tokens. */
export interface TaskClasses {
  readonly task: string;
  readonly labels: readonly string[] | null;
}

/** Tokens to which the texts of a training were truncated, special tokens included; null if unknown, as in artifacts of earlier versions. */
export const trainedLength = z.int().positive().nullable().default(null);

/** File of an exported adapter with its task, the names of its classes and the length of its texts, which PEFT does not write. */
export const CLASSES_FILE = "classes.json";

const Classes = z.strictObject({ ...TASK_FIELDS, maxLength: trainedLength });

/** {@linkcode CLASSES_FILE}, which an adapter that another program wrote lacks. */
export const { find: findClasses, write: writeClasses } = jsonFile(
  CLASSES_FILE,
  Classes,
);

/** Outputs of a classifier for these classes: one logit per class, or one score. */
export function outputsOf(labels: readonly string[] | null): number {
  return labels?.length ?? 1;
}

/** The names transformers gives to unnamed classes; null for a single output, a regression. */
export function numberedLabels(outputs: number): string[] | null {
  return outputs === 1
    ? null
    : Array.from({ length: outputs }, (_, i) => `LABEL_${i}`);
}

/**
 * Checks that class ids mean the same in training and in use.
 *
 * @throws {Error} If they do not {@linkcode areSameClasses mean the same}.
 */
export function checkClasses(trained: TaskClasses, used: TaskClasses): void {
  if (areSameClasses(trained.labels, used.labels)) return;
  throw new Error(
    `The model was trained for ${inWords(trained)}, but the tokens are for ${
      inWords(used)
    }: connect tokens with the same classes in the same order`,
  );
}

/** True if two lists have the same classes in the same order. Unnamed classes (`LABEL_0`), as imported adapters have them, match any names. */
export function areSameClasses(
  ours: TaskClasses["labels"],
  theirs: TaskClasses["labels"],
): boolean {
  if (ours === null || theirs === null) return ours === theirs;
  return ours.length === theirs.length &&
    (isNumbered(ours) || isNumbered(theirs) ||
      ours.every((label, i) => label === theirs[i]));
}

/** True for the names of unnamed classes: `LABEL_0`, `LABEL_1` and so on. */
export function isNumbered(labels: readonly string[]): boolean {
  return labels.every((label, i) => label === `LABEL_${i}`);
}

function inWords({ task, labels }: TaskClasses): string {
  return labels === null
    ? `the regression "${task}"`
    : `"${task}" with the classes ${labels.join(", ")}`;
}
