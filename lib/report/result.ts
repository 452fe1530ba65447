import type { Provenance } from "../engine/schedules/registry.ts";
import type { Problem } from "../problems/problem.ts";
import type { TextBaseline } from "../problems/writing.ts";

/**
 * Settings that distinguish trainings of the same method: `{ mode: "frozen" }`.
 */
export type Variant = Readonly<Record<string, string | number>>;

/**
 * One training and its evaluation at one or more ranks: the input of a report.
 */
export interface Result {
  /** Name of the GLUE task, or of the user's own data. */
  readonly task: string;
  /** Display name of the task: `SST-2`. */
  readonly title: string;
  readonly split: string;
  /** Epoch of the training that is evaluated. */
  readonly epoch: "last" | "best";
  readonly provenance: Provenance;
  /** Often empty. */
  readonly variant: Variant;
  readonly seed: number;
  /**
   * Id of the stage that made the adapter or model: `train-dylora@mrpc,seed=0`.
   */
  readonly stage: string;
  /**
   * Targets, a row for each unit, flat: as a rule a class number or a score.
   */
  readonly labels: ArrayLike<number>;
  readonly problem: Problem;
  /**
   * Of texts whose words have labels, where those of each text start,
   * `[texts + 1]`; absent for other problems.
   */
  readonly starts?: Int32Array;
  /** True if the problem's threshold is the best one for these examples. */
  readonly isBestThreshold?: true;
  /**
   * `[examples]`, then those of a corpus; undefined if the data are not
   * connected.
   */
  readonly texts: readonly Text[] | undefined;
  /**
   * Texts that need no training, for the same prompts; absent for other
   * problems, and if the data are not connected.
   */
  readonly baselines?: readonly TextBaseline[];
  /** Precision of the evaluation's matrix products. */
  readonly precision: string;
  /** In ascending order of rank; rank 0 is a model without adapters. */
  readonly ranks: readonly RankResult[];
  /** Undefined if the adapter was not trained by this pipeline. */
  readonly training: TrainingCost | undefined;
  /**
   * Number of values in an adapter of rank b: `perRank * b + others`; null for
   * a model without adapters.
   */
  readonly size: { readonly perRank: number; readonly others: number } | null;
  /**
   * Seconds spent reducing the trained adapter, and fitting heads to it; 0 if
   * it is evaluated as trained.
   */
  readonly reductionSeconds: number;
  /** Floating-point operations of fitting heads. */
  readonly reductionFlops: number;
  readonly evaluationSeconds: number;
  /**
   * Processors and GPUs of the training and the evaluation, as far as recorded.
   */
  readonly machines: readonly string[];
  /** Floating-point operations of the evaluation at all ranks. */
  readonly evaluationFlops: number;
}

/**
 * The text of an example or its pair, with its words if they are what is
 * predicted, and with its further texts.
 */
export type Text =
  & Parameters<Problem["toExample"]>[0]
  & { readonly others?: readonly string[] };

/** Scores and predictions at one rank. */
export interface RankResult {
  readonly rank: number;
  /** By name, the main metric first; NaN if undefined. */
  readonly metrics: Readonly<Record<string, number>>;
  /** A row for each unit, flat: as a rule a class number or a score. */
  readonly predictions: ArrayLike<number>;
  /**
   * Probability of each predicted class, `[units]`; null for a regression, and
   * where predictions say it themselves.
   */
  readonly probabilities: ArrayLike<number> | null;
}

/** Settings of a training and its measured costs. */
export interface TrainingCost {
  /** Rank of the trained adapter; 0 without adapters. */
  readonly rank: number;
  /**
   * What a report prints of its settings, by name; undefined where it has none,
   * such as `alpha` without adapters.
   */
  readonly settings: Readonly<Record<string, string | number | undefined>>;
  /** Task whose trained adapter this training started from. */
  readonly start: string | undefined;
  /** Wall-clock seconds over all attempts. */
  readonly seconds: number;
  /** Median seconds of an optimizer step. */
  readonly stepSeconds: number;
  readonly steps: number;
  /** Examples seen, summed over epochs. */
  readonly examples: number;
  /** Floating-point operations of all matrix products. */
  readonly flops: number;
  /** Mean training loss since the previous entry, at regular steps. */
  readonly losses: readonly { readonly step: number; readonly loss: number }[];
  /**
   * Evaluations that selected the best epoch; undefined if none was selected.
   */
  readonly selection: {
    /** Split on which every epoch was scored. */
    readonly split: string;
    /** Main metric after each epoch, mean over the ranks. */
    readonly epochs: readonly { readonly score: number }[];
    readonly seconds: number;
    readonly flops: number;
  } | undefined;
}
