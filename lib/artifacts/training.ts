import { join } from "node:path";
import { z } from "zod";
import type { Sampler as EngineSampler } from "../engine/ranks/sampler.ts";
import { EpochScores } from "../engine/training/epoch_scores.ts";
import { readJsonFile } from "./json_file.ts";

/** Precision in which matrix products were computed: what `auto` came to. */
export const UsedPrecision = z.enum(["f32", "bf16"]);

const drawnRank = z.int().min(1);
const minRank = drawnRank.optional();

/** How DyLoRA draws the rank of a step. */
export const Sampler = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("uniform"), minRank }),
  z.strictObject({
    kind: z.literal("geometric"),
    p: z.number().gt(0).lt(1).default(0.15),
    minRank,
  }),
  z.strictObject({ kind: z.literal("list"), ranks: z.array(drawnRank).min(1) }),
]) satisfies z.ZodType<EngineSampler>;

export type Sampler = z.output<typeof Sampler>;

const count = z.int().positive();

/** How the best epoch was chosen. */
const Selection = z.strictObject({
  /** Split that every epoch was scored on. */
  split: z.string().min(1),
  examples: count,
  /** Metric whose mean over the ranks is the score; where it is undefined, it counts as 0. */
  metric: z.string().min(1),
  /** Floating-point operations of all these evaluations, which those of training do not hold. */
  flops: z.number().positive(),
  /** The epoch of the highest score, the earlier one of equals. */
  best: count,
  epochs: z.array(EpochScores).min(1),
});

/** What only one method has; null where another one trained. */
const OWN_FIELDS = {
  mode: "dylora",
  sampler: "dylora",
  scope: "dylora",
  matryoshka: "matryoshka",
} as const;

/** `training.json`: how an adapter was trained. */
export const Training = z.strictObject({
  method: z.enum([
    "dylora",
    "lora",
    "lora-truncated",
    "lora-svd",
    "matryoshka",
  ]),
  /** Name of the GLUE task, or the user's own name for the data. */
  task: z.string().min(1),
  /** Class names in the order of their numbers; null if the task is a regression. */
  labels: z.array(z.string()).min(2).nullable(),
  /** The adapter's rank; for DyLoRA the largest of its ranks. */
  rank: count,
  alpha: z.number().positive(),
  /** The scale at rank b is alpha / b (`rank`), or alpha / `rank` at every b (`maximum`). */
  scaling: z.enum(["rank", "maximum"]),
  /** Which rows and columns a step trained. */
  mode: z.enum(["all", "frozen", "frozen-strict"]).nullable(),
  sampler: Sampler.nullable(),
  /** Whether a step drew one rank for the whole model, or one for each adapted projection. */
  scope: z.enum(["model", "module"]).nullable(),
  /** What was weighted over which ranks, and how; null where another method trained. */
  matryoshka: z.strictObject({
    objective: z.enum(["losses", "outputs"]),
    ranks: z.array(count).min(1),
    weights: z.array(z.number().positive()).min(1),
  }).nullable().default(null),
  seed: z.int().nonnegative(),
  /** The training whose adapters it went on from; null if they started anew. */
  start: z.strictObject({
    method: z.string().min(1),
    task: z.string().min(1),
    seed: z.int().nonnegative(),
  }).nullable(),
  epochs: z.number().positive(),
  /** Optimizer steps. */
  steps: count,
  /** Examples of a step. */
  batchSize: count,
  /** Length to which batches were padded: that of their longest example, or the longest that the tokens may have. */
  padding: z.enum(["longest", "maxLength"]),
  learningRate: z.number().positive(),
  weightDecay: z.number().nonnegative(),
  warmupRatio: z.number().min(0).max(1),
  precision: UsedPrecision,
  /** The engine that trained it: `tensorflow`. */
  engine: z.string().min(1),
  /** Examples seen in all epochs together. */
  examples: count,
  /** Tokens seen in all epochs together, padding not counted. */
  tokens: count,
  /** Tokens computed in all epochs together, padding included. */
  paddedTokens: count,
  /** Floating-point operations of all steps: two for each multiply-add of a matrix product. */
  flops: z.number().positive(),
  /** Mean training loss since the entry before, every so many steps. */
  losses: z.array(
    z.strictObject({ step: count, loss: z.number().nonnegative() }),
  ),
  /** Null if no epoch was evaluated, and only the last one was kept. */
  selection: Selection.nullable(),
}).superRefine((training, context) => {
  for (const [field, method] of Object.entries(OWN_FIELDS)) {
    const expected = training.method === method;
    const value = training[field as keyof typeof OWN_FIELDS];
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

/** What tells which ranks an adapter serves. */
interface Served {
  readonly method: string;
  readonly rank: number;
  readonly sampler?: Sampler | null;
  readonly matryoshka?:
    | { readonly ranks: readonly number[] }
    | null
    | undefined;
}

/** Ranks that an adapter serves: its own of LoRA, else every one from the lowest that was trained. */
export function servedRanks(training: Served): number[] {
  const { method, rank } = training;
  if (method === "lora" || method === "imported-lora") return [rank];
  const lowest = lowestTrained(training);
  return Array.from({ length: rank - lowest + 1 }, (_, i) => lowest + i);
}

function lowestTrained({ method, sampler, matryoshka }: Served): number {
  if (method === "matryoshka" && matryoshka) {
    return Math.min(...matryoshka.ranks);
  }
  if (method !== "dylora" || !sampler) return 1;
  return sampler.kind === "list"
    ? Math.min(...sampler.ranks)
    : sampler.minRank ?? 1;
}

/**
 * Name of the metric by which training stages report the median seconds of an
 * optimizer step. Artifacts hold no times, since equal runs give equal bytes.
 */
export const STEP_SECONDS = "step_seconds";

/**
 * Name of the metric by which training stages report the seconds that they
 * took, over all attempts where they were interrupted: up to the checkpoint
 * that the next attempt went on from, and with the start of the last one.
 */
export const TRAINING_SECONDS = "training_seconds";

/**
 * Name of the metric by which training stages report the seconds that they
 * took to evaluate epochs, over all attempts; those of training do not hold them.
 */
export const SELECTION_SECONDS = "selection_seconds";

/** Reads how an artifact of kind `adapter` was trained. */
export function readTraining(folder: string): Promise<Training> {
  return readJsonFile(join(folder, "training.json"), Training);
}

/** `training.json` of an adapter that was trained elsewhere: what has to be known to use it. */
const Imported = z.strictObject({
  /** What it was trained as. */
  method: z.enum(["imported-lora", "imported-dylora"]),
  /** Name of the task that it is for. */
  task: z.string().min(1),
  /** Class names in the order of their numbers; null if the task is a regression. */
  labels: z.array(z.string()).min(2).nullable(),
  rank: z.int().positive(),
  alpha: z.number().positive(),
  /** The scale at rank b is alpha / b (`rank`), or alpha / `rank` at every b (`maximum`). */
  scaling: z.enum(["rank", "maximum"]),
  /** The seed that its scores go by. */
  seed: z.int().nonnegative(),
  /** No epochs are known. */
  selection: z.null(),
});

type Imported = z.output<typeof Imported>;

/** What is known of how an adapter came to be. */
export type AdapterRecord = Training | Imported;

/** Checks a record before it is written. */
export function parseRecord(record: AdapterRecord): AdapterRecord {
  return isImported(record) ? Imported.parse(record) : Training.parse(record);
}

/**
 * Reads how an artifact of kind `adapter` came to be.
 *
 * @throws {SyntaxError} Naming the file, and the field that is wrong.
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

function isImported(
  record: { readonly method: string },
): record is Imported {
  return record.method.startsWith("imported-");
}

const { rank, mode, sampler, scope, matryoshka } = Training.shape;

/** What tells an adapter from others of its method, task and seed; null where its method has no such thing, or it was trained elsewhere. */
export const TrainedAs = z.strictObject({
  rank,
  mode,
  sampler,
  scope,
  matryoshka,
});

export type TrainedAs = z.output<typeof TrainedAs>;

/** What tells an adapter from others of its method, task and seed. */
export function trainedAs(record: AdapterRecord): TrainedAs {
  const { rank } = record;
  if (!("mode" in record)) {
    return { rank, mode: null, sampler: null, scope: null, matryoshka: null };
  }
  const { mode, sampler, scope, matryoshka } = record;
  return { rank, mode, sampler, scope, matryoshka };
}

/** Which epoch of a training is meant. */
export type Epoch = "last" | "best";

/** The error where the best epoch is asked for and training did not choose one. */
export function noBestEpoch(artifact: string): TypeError {
  return new TypeError(
    `The ${artifact} keeps no best epoch: train it with "selectOn: validation", or take "epoch: last"`,
  );
}
