import type { AdamWOptions } from "./adamw.ts";
import type { Matryoshka } from "../ranks/matryoshka.ts";
import type { RankDrawOptions } from "../ranks/rank_draws.ts";
import type { RankScaling } from "../ranks/rank_vectors.ts";

/** How to train. LoRA of rank r is DyLoRA of maximum rank r that always draws r. */
export interface TrainingOptions extends RankDrawOptions {
  readonly alpha: number;
  /** What alpha is divided by; by default, and for Matryoshka always, the rank in use. */
  readonly scaling?: RankScaling;
  /** Trains several ranks in each step; the sampler then draws the maximum rank only. */
  readonly matryoshka?: Matryoshka | undefined;
  readonly epochs: number;
  /** Examples of one forward and backward pass. */
  readonly batchSize: number;
  /** Passes whose gradients make one optimizer step. */
  readonly accumulation: number;
  /**
   * Length to which every example is padded. By default, batches are formed by
   * length and each is padded to its longest, or to one of fewer lengths.
   */
  readonly padTo?: number | undefined;
  readonly learningRate: number;
  readonly warmupRatio: number;
  readonly optimizer: AdamWOptions;
  readonly dropout: boolean;
}
