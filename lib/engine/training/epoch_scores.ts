import { z } from "zod";

const count = z.int().min(1);
/** NaN where a metric is undefined, which JSON writes as null. */
const figure = z.number().nullable().transform((value) => value ?? NaN);

/** How the parameters do after an epoch, on examples that they were not trained on. */
export const EpochScores = z.strictObject({
  /** From 1. */
  epoch: count,
  /** Optimizer steps taken. */
  step: count,
  /** By which the best epoch is chosen: higher is better. */
  score: z.number(),
  /** Metrics by name, in ascending order of rank. */
  ranks: z.array(z.strictObject({
    /** 0 without adapters. */
    rank: z.int().nonnegative(),
    metrics: z.record(z.string(), figure),
  })).min(1),
});

export type EpochScores = z.output<typeof EpochScores>;

/** The epoch of the highest score, the earlier one of equals. */
export function bestEpoch(
  epochs: readonly EpochScores[],
): EpochScores | undefined {
  return epochs.reduce<EpochScores | undefined>(
    (best, it) => best === undefined || it.score > best.score ? it : best,
    undefined,
  );
}
