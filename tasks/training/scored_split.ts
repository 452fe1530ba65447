import type { Examples } from "../../lib/engine/batches.ts";
import { metricsOf } from "../../lib/glue/benchmark.ts";
import {
  computeMetrics,
  type MetricName,
  predictionsOf,
} from "../../lib/glue/metrics.ts";
import { readTokens, type TokensInfo } from "../artifacts/tokens.ts";

/** Metrics of an adapter at one rank, the one to judge by first. */
export interface RankScores {
  readonly rank: number;
  readonly metrics: Record<string, number>;
}

/** A split with labels, against which adapters are scored. */
export class ScoredSplit {
  /** Name of the split; of MNLI, whose validation sets are two, the matched one stands for `validation`. */
  readonly name: string;
  readonly examples: Examples;
  /** Metrics by which the task is judged, the main one first. */
  readonly metrics: readonly MetricName[];
  /** Outputs for an example: classes, or one score. */
  readonly outputs: number;

  /**
   * @param folder An artifact of kind `tokens`
   * @throws {Error} If it lacks the split, or the split has no labels.
   */
  constructor(folder: string, info: TokensInfo, asked: string) {
    const matched = `${asked}_matched`;
    this.name = !Object.hasOwn(info.splits, asked) &&
        Object.hasOwn(info.splits, matched)
      ? matched
      : asked;
    const { labels, ...tokens } = readTokens(folder, info, this.name);
    if (labels === undefined) {
      throw new Error(
        `Split "${this.name}" of "${info.task}" has no labels to evaluate against`,
      );
    }
    this.examples = { ...tokens, labels };
    this.metrics = metricsOf(info.task, info.labels);
    this.outputs = info.labels?.length ?? 1;
  }

  /**
   * Scores the logits of all examples at each rank.
   *
   * @param logits `[ranks, examples, outputs]`
   */
  score(ranks: readonly number[], logits: Float32Array): RankScores[] {
    const { labels } = this.examples;
    const size = labels.length * this.outputs;
    return ranks.map((rank, i) => ({
      rank,
      metrics: computeMetrics(
        this.metrics,
        predictionsOf(
          logits.subarray(i * size, (i + 1) * size),
          this.outputs,
        ),
        labels,
      ) as Record<string, number>,
    }));
  }
}
