import { join } from "node:path";
import { z } from "zod";
import {
  RankScaling,
  servedRanks as ranksServed,
} from "../engine/methods/method.ts";
import {
  ADAPTER_METHODS,
  METHOD_FIELDS,
  methodNamed,
} from "../engine/methods/registry.ts";
import { EpochScores } from "../engine/training/checkpoint.ts";
import { TASK_FIELDS, trainedLength } from "./classes.ts";
import { readJsonFile, writeJsonFile } from "./json_file.ts";

const count = z.int().positive();

/** Precision in which matrix products were computed, with `auto` resolved. */
export const UsedPrecision = z.enum(["f32", "bf16"]);

/** Scale at rank b: alpha / b (`rank`), or alpha / `rank` of the adapter at every b (`maximum`). */
const scaling = RankScaling;

/** Modules that carry adapters, as in PEFT: name suffixes, or `all-linear`. */
const targetModules = z.union([
  z.array(z.string().min(1)).min(1).readonly(),
  z.literal("all-linear"),
]).default(["query", "value"]);

/** How the best epoch was selected. */
const Selection = z.strictObject({
  /** Split on which every epoch was scored. */
  split: z.string().min(1),
  examples: count,
  /** Metric whose mean over the ranks is the score; an undefined value counts as 0. */
  metric: z.string().min(1),
  /** Floating-point operations of all these evaluations; `flops` of the training excludes them. */
  flops: z.number().positive(),
  /** Epoch with the highest score, the earlier one on a tie. */
  best: count,
  epochs: z.array(EpochScores).min(1),
});

/** Settings, counts and results of a training, for any method. */
export const RUN_FIELDS = {
  epochs: z.number().positive(),
  /** Optimizer steps. */
  steps: count,
  /** Examples per optimizer step. */
  batchSize: count,
  /** Length to which batches were padded: their longest example, or the tokens' `maxLength`. */
  padding: z.enum(["longest", "maxLength"]),
  maxLength: trainedLength,
  learningRate: z.number().positive(),
  weightDecay: z.number().nonnegative(),
  warmupRatio: z.number().min(0).max(1),
  precision: UsedPrecision,
  /** Name of the engine: `tensorflow`. */
  engine: z.string().min(1),
  /** Examples seen, summed over the epochs. */
  examples: count,
  /** Tokens seen, summed over the epochs, without padding. */
  tokens: count,
  /** Tokens computed, summed over the epochs, with padding. */
  paddedTokens: count,
  /** Floating-point operations of all steps: two per multiply-add of a matrix product. */
  flops: z.number().positive(),
  /** Mean training loss since the previous entry, at regular steps. */
  losses: z.array(
    z.strictObject({ step: count, loss: z.number().nonnegative() }),
  ),
  /** Null if no epoch was evaluated and only the last one is saved. */
  selection: Selection.nullable(),
};

const [trained, imported] = [false, true].map((isImported) =>
  ADAPTER_METHODS.filter(({ importedScaling }) =>
    (importedScaling !== undefined) === isImported
  )
    .map(({ name }) => name)
) as [[string], [string]];

type Fields = typeof METHOD_FIELDS;

/** Fields of a single method; null for every other method. */
const OWN_FIELDS = Object.fromEntries(
  Object.entries(METHOD_FIELDS).map(([name, field]) => [
    name,
    (field as z.ZodType).nullable().default(null),
  ]),
) as {
  [Name in keyof Fields]: z.ZodDefault<z.ZodNullable<Fields[Name]>>;
};

/** `training.json`: how an adapter was trained. */
export const Training = z.strictObject({
  method: z.enum(trained),
  ...TASK_FIELDS,
  /** Rank of the adapter; the largest one for methods that train several. */
  rank: count,
  alpha: z.number().positive(),
  scaling,
  targetModules,
  ...OWN_FIELDS,
  seed: z.int().nonnegative(),
  /** Training whose adapters this one continued from; null if it started from a fresh adapter. */
  start: z.strictObject({
    method: z.string().min(1),
    task: z.string().min(1),
    seed: z.int().nonnegative(),
  }).nullable(),
  ...RUN_FIELDS,
}).superRefine((training, context) => {
  const { fields, optionalFields = [] } = methodNamed(training.method);
  for (const field of Object.keys(OWN_FIELDS)) {
    const expected = fields.includes(field);
    const value = training[field as keyof typeof OWN_FIELDS];
    if (value === null && optionalFields.includes(field)) continue;
    if ((value !== null) !== expected) {
      context.addIssue({
        code: "custom",
        path: [field],
        message: `Expected ${
          expected ? "a value" : "null"
        } for method "${training.method}"`,
      });
    }
  }
});

export type Training = z.output<typeof Training>;

/** `training.json` of an imported adapter: the fields that its use requires. */
const Imported = z.strictObject({
  /** The method it was trained with. */
  method: z.enum(imported),
  ...TASK_FIELDS,
  rank: count,
  alpha: z.number().positive(),
  scaling,
  targetModules,
  maxLength: trainedLength,
  /** Seed under which its scores are reported. */
  seed: z.int().nonnegative(),
  /** Null, since its epochs are unknown. */
  selection: z.null(),
});

/** `training.json` of an artifact of kind `adapter`, trained here or imported. */
export type AdapterRecord = Training | z.output<typeof Imported>;

/** Writes `training.json` of an artifact of kind `adapter`. */
export async function writeRecord(
  folder: string,
  record: AdapterRecord,
): Promise<void> {
  await writeJsonFile(
    join(folder, "training.json"),
    record,
    isImported(record) ? Imported : Training,
  );
}

/**
 * Reads `training.json` of an artifact of kind `adapter`, trained here or imported.
 *
 * @throws {SyntaxError} Naming the file and the invalid field.
 */
export async function readRecord(folder: string): Promise<AdapterRecord> {
  const path = join(folder, "training.json");
  const { method } = await readJsonFile(
    path,
    z.looseObject({ method: z.string() }),
  );
  return isImported({ method })
    ? await readJsonFile(path, Imported)
    : await readTraining(folder);
}

/** Reads `training.json` of an adapter that was trained here. */
export function readTraining(folder: string): Promise<Training> {
  return readJsonFile(join(folder, "training.json"), Training);
}

function isImported(
  record: { readonly method: string },
): boolean {
  return imported.some((name) => name === record.method);
}

/** Ranks that an adapter serves, ascending. */
export function servedRanks(
  training: {
    readonly method: string;
    readonly rank: number;
    readonly [field: string]: unknown;
  },
): number[] {
  return ranksServed(methodNamed(training.method), training);
}

const { rank } = Training.shape;

/** Settings that distinguish an adapter from others with the same method, task and seed; null if unknown or of another method. */
export const TrainedAs = z.strictObject({
  rank,
  targetModules,
  ...OWN_FIELDS,
});

/** The {@linkcode TrainedAs} of an adapter. */
export function trainedAs(record: AdapterRecord): z.output<typeof TrainedAs> {
  return TrainedAs.parse(
    Object.fromEntries(
      Object.keys(TrainedAs.shape).map((field) => [
        field,
        record[field as keyof AdapterRecord],
      ]),
    ),
  );
}

/** The epoch of a training to use: the last one, or the best one it selected. */
export type Epoch = "last" | "best";

/** The error for a request for the best epoch of a training that selected none. */
export function noBestEpoch(artifact: string): Error {
  return new Error(
    `The ${artifact} has no best epoch: train it with "selectOn: validation", or use "epoch: last"`,
  );
}

/**
 * Metric under which training stages report the median seconds per optimizer
 * step. Artifacts hold no times, so that equal runs give equal bytes.
 */
export const STEP_SECONDS = "step_seconds";

/**
 * Metric under which training stages report their training seconds, summed
 * over all attempts of an interrupted training: each up to the checkpoint from
 * which the next one resumed. Starting the last attempt is included.
 */
export const TRAINING_SECONDS = "training_seconds";

/**
 * Metric under which training stages report the seconds spent evaluating
 * epochs, summed over all attempts; {@linkcode TRAINING_SECONDS} excludes them.
 */
export const SELECTION_SECONDS = "selection_seconds";
