import { outputsOf } from "../artifacts/classes.ts";
import type { ScoresInfo } from "../artifacts/scores.ts";
import { readLabelledTokens, type TokensInfo } from "../artifacts/tokens.ts";
import type { EncodedExamples } from "../data/example.ts";
import {
  computeMetrics,
  type MetricName,
  predictionsOf,
} from "../data/metrics.ts";

/** A labelled split on which classifiers are scored. */
export class ScoredSplit {
  /** Name of the split. For MNLI, `validation` is `validation_matched`. */
  readonly name: string;
  readonly examples: Required<EncodedExamples>;
  /** Metrics of the data, the main one first. */
  readonly metrics: readonly MetricName[];
  /** Outputs per example: one logit per class, or one score. */
  readonly outputs: number;

  /**
   * @param folder An artifact of kind `tokens`
   * @throws {Error} If the split does not exist or has no labels.
   */
  constructor(folder: string, info: TokensInfo, requested: string) {
    const matched = `${requested}_matched`;
    this.name = !Object.hasOwn(info.splits, requested) &&
        Object.hasOwn(info.splits, matched)
      ? matched
      : requested;
    this.examples = readLabelledTokens(folder, info, this.name);
    this.metrics = info.metrics;
    this.outputs = outputsOf(info.labels);
  }

  /**
   * Computes the metrics at each rank.
   *
   * @param logits `[ranks, examples, outputs]`
   */
  score(ranks: readonly number[], logits: Float32Array): ScoresInfo["ranks"] {
    const size = this.examples.labels.length * this.outputs;
    return ranks.map((rank, i) => ({
      rank,
      metrics: this.metricsOf(logits.subarray(i * size, (i + 1) * size)),
    }));
  }

  /**
   * Computes the metrics of a classifier.
   *
   * @param logits `[examples, outputs]`
   */
  metricsOf(logits: Float32Array): Record<string, number> {
    return computeMetrics(
      this.metrics,
      predictionsOf(logits, this.outputs),
      this.examples.labels,
    ) as Record<string, number>;
  }
}
