import type { Checkpoint } from "./checkpoint.ts";
import type { EpochScores } from "./epoch_scores.ts";
import type { Rates } from "./report_window.ts";
import type { Stopwatch } from "./stopwatch.ts";

/** What training says while it goes on, and where it may resume. */
export interface TrainingHooks {
  /** Called every few steps. */
  readonly report: (report: TrainingReport) => void;
  /**
   * Scores the parameters after each epoch, `[size]`; then those of the best
   * epoch are kept beside the last. Must be deterministic.
   */
  readonly evaluate?:
    | ((values: Float32Array) => Promise<Pick<EpochScores, "score" | "ranks">>)
    | undefined;
  /** Aborted to stop training; a checkpoint is written before it ends. */
  readonly signal?: AbortSignal;
  /** Where to resume from, if training was interrupted. */
  readonly resume?: Checkpoint | undefined;
  /** Keeps a checkpoint; called at most every `checkpointSeconds`. */
  readonly save?: (checkpoint: Checkpoint) => void;
  readonly checkpointSeconds?: number;
  /** Counts the seconds of training; it may have begun before, with what prepares the training. */
  readonly stopwatch?: Stopwatch;
}

/** State of training after a step. */
export interface TrainingReport extends Rates {
  /** Optimizer steps taken. */
  readonly step: number;
  readonly steps: number;
  /** Mean loss of the steps since the last report. */
  readonly loss: number;
  readonly learningRate: number;
  /** Rank of the last step, or that of each module. */
  readonly rank: number | readonly number[];
}
