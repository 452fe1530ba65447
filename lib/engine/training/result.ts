import type { LossEntry } from "./checkpoint.ts";
import type { EpochScores } from "./epoch_scores.ts";

/** What training gives. */
export interface TrainingResult {
  /** Flat parameters, `[size]` */
  readonly values: Float32Array<ArrayBuffer>;
  readonly steps: number;
  /** Tokens of all steps, padding not counted. */
  readonly tokens: number;
  /** Tokens that all steps computed, padding included. */
  readonly paddedTokens: number;
  /** Floating-point operations of all steps, as {@linkcode trainingFlops} counts them. */
  readonly flops: number;
  /** Mean loss of every so many steps. */
  readonly losses: readonly LossEntry[];
  /** Median milliseconds of a step, over all attempts. */
  readonly msPerStep: number;
  /** Seconds of training, over all attempts. */
  readonly seconds: number;
  /** Scores of every epoch, where they were evaluated. */
  readonly epochs: readonly EpochScores[];
  /** Flat parameters of the best epoch, `[size]`, where epochs were evaluated. */
  readonly best: Float32Array | undefined;
  /** Seconds of these evaluations, over all attempts. */
  readonly evaluationSeconds: number;
}
