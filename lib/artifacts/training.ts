import { join } from "@std/path/posix/join";
import * as z from "zod";
import { ADAPTER_KINDS } from "../engine/adapters/registry.ts";
import {
  RankScaling,
  scaleInWords,
  usesRslora,
} from "../engine/adapters/scale.ts";
import {
  Method,
  Reduction,
  SCHEDULE_NAMES,
  scheduleNamed,
} from "../engine/schedules/registry.ts";
import { EpochScores } from "../engine/training/checkpoint.ts";
import { TASK_FIELDS, trainedLength } from "./classes.ts";
import { count, digest, digestOf, jsonFile } from "./json_file.ts";

/** Precision in which matrix products were computed, with `auto` resolved. */
export const UsedPrecision = z.enum(["f32", "bf16"]);

/** How the best epoch was selected. */
const Selection = z.strictObject({
  /** Split on which every epoch was scored. */
  split: z.string().min(1),
  examples: count,
  /**
   * Metric whose mean over the ranks is the score; an undefined value counts as
   * 0.
   */
  metric: z.string().min(1),
  /**
   * Floating-point operations of all these evaluations; `flops` of the training
   * excludes them.
   */
  flops: z.number().positive(),
  /** Epoch with the highest score, the earlier one on a tie. */
  best: count,
  epochs: z.array(EpochScores).min(1),
});

/** Settings of a training, for any method, and what it was given. */
const RUN_SETTINGS = {
  /** Name of the model at its source; null if none is recorded. */
  model: z.string().nullable().default(null),
  epochs: z.number().positive(),
  /** Examples per optimizer step. */
  batchSize: count,
  /**
   * Length to which batches were padded: their longest example, or the tokens'
   * `maxLength`.
   */
  padding: z.enum(["longest", "maxLength"]),
  maxLength: trainedLength,
  learningRate: z.number().positive(),
  weightDecay: z.number().nonnegative(),
  /** Weights of the classes in the loss; equal if absent. */
  classWeights: z.literal("balanced").optional(),
  /** True if the loss also finds the first text of each second one. */
  symmetric: z.literal(true).optional(),
  warmupRatio: z.number().min(0).max(1),
  clipNorm: z.number().positive().default(1),
  dropout: z.boolean().default(true),
  precision: UsedPrecision,
  /** Name of the engine: `tensorflow`. */
  engine: z.string().min(1),
  /** Examples seen, summed over the epochs. */
  examples: count,
};

/** Settings, counts and results of a training, for any method. */
export const RUN_FIELDS = {
  ...RUN_SETTINGS,
  /** Optimizer steps. */
  steps: count,
  /** Tokens seen, summed over the epochs, without padding. */
  tokens: count,
  /** Tokens computed, summed over the epochs, with padding. */
  paddedTokens: count,
  /**
   * Floating-point operations of all steps: two per multiply-add of a matrix
   * product.
   */
  flops: z.number().positive(),
  /** Mean training loss since the previous entry, at regular steps. */
  losses: z.array(
    z.strictObject({ step: count, loss: z.number().nonnegative() }),
  ),
  /** Null if no epoch was evaluated and only the last one is saved. */
  selection: Selection.nullable(),
};

/** Settings of an adapter. */
const ADAPTER_SETTINGS = {
  /** Kind of the adapter; LoRA if absent. */
  adapter: z.enum(ADAPTER_KINDS).optional(),
  /** Rank of the adapter; the largest one for methods that train several. */
  rank: count,
  alpha: z.number().positive(),
  /** Scale at the ranks below. */
  scaling: RankScaling,
  /**
   * Rate of the dropout of the adapters' inputs in training, where there is
   * one.
   */
  loraDropout: z.number().gt(0).lt(1).optional(),
  /**
   * Modules that carry adapters, as in PEFT: name suffixes, or `all-linear`.
   */
  targetModules: z.union([
    z.array(z.string().min(1)).min(1).readonly(),
    z.literal("all-linear"),
  ]),
};

/**
 * How the last layer of the head was fitted for each rank that the adapter
 * serves since.
 */
const Heads = z.strictObject({
  /** SHA-256 of `training.json` of the adapter with the trained head. */
  of: digest,
  /** Training texts that they were fitted to. */
  examples: count,
  /** Floating-point operations of the features and of the fits. */
  flops: z.number().nonnegative(),
  ranks: z.array(z.strictObject({
    rank: count,
    /**
     * Weight of the distance from the trained layer, as a multiple of the mean
     * square of a feature; null if that layer was kept.
     */
    pull: z.number().positive().nullable(),
    /**
     * Loss of the texts that chose the pull, against the adapter's own rank: by
     * the trained layer and by the chosen fit; absent if none was tried.
     */
    heldOut: z.strictObject({ given: z.number(), fitted: z.number() })
      .exactOptional(),
  })).min(1),
});

/** What an adapter is, whether it was trained here or imported. */
const ADAPTER_FIELDS = {
  /** Null for an adapter that was not reduced since its training. */
  reducedBy: Reduction.nullable(),
  /** Absent if all ranks have the trained head. */
  heads: Heads.exactOptional(),
  ...TASK_FIELDS,
  ...ADAPTER_SETTINGS,
  /** Of an imported adapter, the seed under which its scores are reported. */
  seed: z.int().nonnegative(),
};

/** `training.json` of an adapter that was trained here. */
export const Training = z.strictObject({
  /** Schedule of its ranks, with its settings. */
  method: Method,
  imported: z.literal(false),
  ...ADAPTER_FIELDS,
  /**
   * Training whose adapters this one continued from; null if it started from a
   * fresh adapter.
   */
  start: z.strictObject({
    method: z.string().min(1),
    task: z.string().min(1),
    seed: z.int().nonnegative(),
  }).nullable(),
  ...RUN_FIELDS,
});

export type Training = z.output<typeof Training>;

/** `training.json` of an imported adapter: the fields that its use requires. */
const Imported = z.strictObject({
  /** The schedule of its ranks; its settings are unknown. */
  method: z.strictObject({ name: z.enum(SCHEDULE_NAMES) }),
  imported: z.literal(true),
  ...ADAPTER_FIELDS,
  maxLength: trainedLength,
  /** Null, since its epochs are unknown. */
  selection: z.null(),
});

/** `training.json` of an artifact of kind `adapter`. */
const AdapterRecord = z.discriminatedUnion("imported", [Training, Imported], {
  error: ({ input }) =>
    "method" in Object(input) && !("imported" in Object(input))
      ? "It is of a model that was trained without an adapter: connect one of a stage of train-dylora, train-lora, train-matryoshka or import-adapter; evaluate-model evaluates the model"
      : undefined,
});

export type AdapterRecord = z.output<typeof AdapterRecord>;

/** `training.json` of an artifact of kind `adapter`. */
export const { read: readRecord, write: writeRecord } = jsonFile(
  "training.json",
  AdapterRecord,
);

/**
 * SHA-256 of `training.json` of an adapter or a classifier, by which what was
 * made of it names it.
 */
export function trainingDigest(folder: string): Promise<string> {
  return digestOf(join(folder, "training.json"));
}

/** Ranks that an adapter serves, ascending. */
export function servedRanks(
  { method, imported, reducedBy, heads, rank }: Pick<
    AdapterRecord,
    "method" | "imported" | "reducedBy" | "heads" | "rank"
  >,
): number[] {
  if (heads !== undefined) return heads.ranks.map(({ rank }) => rank);
  const schedule = scheduleNamed(method.name);
  // The settings of an imported adapter are unknown: it serves what those by
  // default train.
  const settings = imported ? z.object(schedule.settings).parse({}) : method;
  const lowest = reducedBy === null ? schedule.lowestRank(settings, rank) : 1;
  return Array.from({ length: rank - lowest + 1 }, (_, i) => lowest + i);
}

/**
 * Checks that an adapter serves a requested rank.
 *
 * @throws {RangeError} If the rank exceeds the adapter's, or was not trained.
 */
export function checkServed(rank: number, training: AdapterRecord): void {
  const served = servedRanks(training);
  if (served.includes(rank)) return;
  const [lowest] = served;
  const largest = training.rank;
  const choice = lowest === largest
    ? `rank ${largest}`
    : training.heads
    ? `one of the ranks ${served.join(", ")}`
    : `a rank from ${lowest} to ${largest}`;
  throw new RangeError(
    rank > largest
      ? `Rank ${rank} exceeds the adapter's rank ${largest}; choose ${choice}`
      : lowest === largest
      ? `The adapter is a LoRA that serves rank ${largest} only, not rank ${rank}: reduce it with the task "reduce-adapter" to use it at lower ranks`
      : training.heads
      ? `Rank ${rank} has no head of its own: choose ${choice}, or fit one with "ranks" of the task "fit-heads"`
      : `Rank ${rank} was not trained: the adapter serves ranks ${lowest} to ${largest}`,
  );
}

const SETTINGS = Object.keys({ ...ADAPTER_SETTINGS, ...RUN_SETTINGS });

/**
 * The settings in which trainings may differ, by name, as numbers or text:
 * those of the schedule, of the adapter and of the run, and the task of the
 * training from which it started.
 */
export function settingsOf(
  record: AdapterRecord | {
    readonly method: string | Readonly<Record<string, unknown>>;
    readonly start?: { readonly task: string } | null;
  },
): Record<string, string | number> {
  const { name: _, ...schedule } = Object(record.method);
  const settings = {
    ...schedule,
    ...Object.fromEntries(
      Object.entries(record).filter(([name]) => SETTINGS.includes(name)),
    ),
    // One rank has one scale, whatever it is named by, but for rsLoRA.
    ..."scaling" in record && !showsScale(record) && { scaling: undefined },
    start: "start" in record ? record.start?.task : undefined,
  };
  return Object.fromEntries(
    Object.entries(settings).filter(([, value]) => value != null)
      .map(([name, value]) => [name, inWords(value)]),
  );
}

/** `uniform`, `geometric p 0.15`, `query value`. */
function inWords(value: unknown): string | number {
  if (typeof value === "number") return value;
  if (typeof value !== "object") return String(value);
  return (Array.isArray(value) ? value : Object.entries(Object(value)).flat())
    .filter((it) => it !== "kind").map(inWords).join(" ") || "none";
}

/**
 * True if the scale of an adapter does not follow from its rank and alpha
 * alone.
 */
function showsScale(record: AdapterRecord): boolean {
  return servedRanks(record).length > 1 || usesRslora(record.scaling);
}

/**
 * The scale at the ranks of an adapter that serves several, and how the steps
 * of its training drew them, in words.
 */
export function ranksInWords(record: AdapterRecord) {
  const { method, imported, scaling } = record;
  const { drawsInWords } = scheduleNamed(method.name);
  return {
    scale: showsScale(record) ? scaleInWords(scaling) : undefined,
    draws: imported ? undefined : drawsInWords?.(method),
  };
}

/**
 * The epoch of a training to use: the last one, or the best one it selected.
 */
export const Epoch = z.enum(["last", "best"]);

export type Epoch = z.output<typeof Epoch>;

/**
 * The error for a request for the best epoch of a training that selected none.
 */
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
