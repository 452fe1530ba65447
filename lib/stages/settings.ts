import { z } from "zod";
import type { TrainingOptions } from "../engine/training/options.ts";

const count = z.int().min(1);

/** Name of a split. */
export const split = z.string().regex(/^[a-z_]+$/);

/** Precision of matrix products that is asked for. */
export const precision = z.enum(["auto", "f32", "bf16"]).default("auto")
  .describe(
    "Precision of matrix products; auto is bf16 where the processor or GPU has it, else f32",
  );

/**
 * Parameters that DyLoRA and LoRA share. Defaults are those of the DyLoRA
 * paper's appendix (arXiv 2210.07558).
 */
export const trainingSettings = {
  rank: count.max(1024).default(8).describe(
    "Rank of the adapters; the largest one for DyLoRA",
  ),
  alpha: z.number().positive().default(16).describe(
    "LoRA alpha: the scale is alpha / rank",
  ),
  epochs: count.default(30).describe("Passes over the training set"),
  batchSize: count.default(32).describe(
    "Examples of one forward and backward pass",
  ),
  accumulation: count.default(1).describe(
    "Passes whose gradients make one optimizer step",
  ),
  padding: z.enum(["longest", "maxLength"]).default("longest").describe(
    "Length of a batch: that of its longest example, batches being formed by length; or the tokens' maxLength for all, batches being formed at random",
  ),
  learningRate: z.number().positive().max(1).default(4e-4).describe(
    "Highest learning rate",
  ),
  warmupRatio: z.number().min(0).max(1).default(0.06)
    .describe("Share of the steps in which the learning rate rises"),
  weightDecay: z.number().min(0).max(1).default(0.1).describe(
    "Decoupled weight decay of AdamW",
  ),
  clipNorm: z.number().positive().default(1).describe(
    "Bound on the gradient's global norm",
  ),
  dropout: z.boolean().default(true).describe(
    "Whether the model's dropout is on",
  ),
  seed: z.int().min(0).max(2 ** 31 - 1).default(0).describe(
    "Seed of start, shuffles, ranks, dropout",
  ),
  selectOn: split.default("none").describe(
    "Split on which every epoch is scored at all ranks, such as validation, to keep the best epoch beside the last; none does without",
  ),
  precision,
};

/** Examples of a forward pass where no more than a few ranks are computed at once. */
export const evaluationBatch = z.int().min(1).default(32).describe(
  "Examples of one forward pass",
);

/** Which epoch of a training is evaluated. */
export const epoch = z.enum(["last", "best"]).default("last").describe(
  "Epoch of the training that is taken; best needs a training with selectOn",
);

/** Inputs of what uses an adapter on tokens. */
export const ADAPTER_INPUTS = {
  model: { kind: "model" },
  tokens: { kind: "tokens" },
  adapter: { kind: "adapter" },
} as const;

/** Inputs that DyLoRA and LoRA share. */
export const TRAINING_INPUTS = {
  model: { kind: "model" },
  tokens: { kind: "tokens" },
  /** An adapter of the same rank to go on from, with a fresh head. */
  start: { kind: "adapter", optional: true },
} as const;

/** Values of {@linkcode trainingSettings}. */
export type TrainingSettings = z.output<z.ZodObject<typeof trainingSettings>>;

/**
 * The engine's options for these settings.
 *
 * @param maxLength Longest sequence that the tokens may have
 */
export function trainingOptions(
  settings: TrainingSettings,
  maxLength: number,
): Omit<TrainingOptions, "mode" | "sampler"> {
  const { weightDecay, clipNorm, padding, selectOn: _, ...rest } = settings;
  return {
    ...rest,
    padTo: padding === "maxLength" ? maxLength : undefined,
    optimizer: {
      beta1: 0.9,
      beta2: 0.999,
      epsilon: 1e-8,
      weightDecay,
      clipNorm,
    },
  };
}

const { rank: _rank, alpha: _alpha, ...withoutAdapters } = trainingSettings;

/** Parameters of a training without adapters. */
export const classifierSettings = withoutAdapters;

/** Values of {@linkcode classifierSettings}. */
export type ClassifierSettings = z.output<
  z.ZodObject<typeof classifierSettings>
>;

/**
 * The engine's options for a training without adapters, which has rank 0.
 *
 * @param maxLength Longest sequence that the tokens may have
 */
export function classifierOptions(
  settings: ClassifierSettings,
  maxLength: number,
): TrainingOptions {
  return {
    ...trainingOptions({ ...settings, rank: 0, alpha: 1 }, maxLength),
    mode: "all",
    sampler: { kind: "list", ranks: [0] },
  };
}

/** Parameters that say at which rank an adapter is taken. */
export const rankToTake = {
  rank: z.union([z.int().min(1), z.literal("recommended")]).optional().describe(
    'Rank to take; "recommended" is that of the report connected as input; by default the adapter\'s own',
  ),
  variant: z.string().min(1).optional().describe(
    "Where the report has several variants of the method, that of the adapter, such as mode=all; with rank: recommended only",
  ),
  split: z.string().regex(/^[a-z_]+$/).optional().describe(
    "Where the report recommends different ranks by different splits, the one to go by, such as validation_matched; with rank: recommended only",
  ),
  epoch,
};
