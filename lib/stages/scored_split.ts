import type { Outputs, ScoresInfo } from "../artifacts/scores.ts";
import { readLabelledTokens, type TokensInfo } from "../artifacts/tokens.ts";
import { type LabelledExamples, wordStarts } from "../data/example.ts";
import type { Problem } from "../problems/problem.ts";
import { problemOf, scoresOf } from "../problems/registry.ts";

/** A labelled split on which classifiers are scored. */
export interface ScoredSplit {
  readonly name: string;
  readonly examples: LabelledExamples;
  /** Metrics of the data, the main one first. */
  readonly metrics: TokensInfo["metrics"];
  readonly problem: Problem;
  /** Where words stand, as scores have it. */
  readonly words: Outputs["words"];
  /**
   * The predictions at each rank, `[units, predictionWidth]`, by logits,
   * `[ranks, units, outputs]`.
   */
  predictionsAt(ranks: number, logits: Float32Array): Float32Array[];
  /** The metrics at each rank, by logits, `[ranks, units, outputs]`. */
  score(ranks: readonly number[], logits: Float32Array): ScoresInfo["ranks"];
}

/**
 * Reads a split to score. For MNLI, `validation` is `validation_matched`.
 *
 * @param folder An artifact of kind `tokens`
 * @throws {Error} If the split does not exist or has no labels.
 */
export function readScoredSplit(
  folder: string,
  info: TokensInfo,
  requested: string,
): ScoredSplit {
  const { metrics, splits } = info;
  const name = [requested, `${requested}_matched`]
    .find((it) => Object.hasOwn(splits, it)) ?? requested;
  const examples = readLabelledTokens(folder, info, name);
  const { labels, words } = examples;
  const starts = words && wordStarts(examples);
  const problem = problemOf(info, starts);
  const predictionsAt = (ranks: number, logits: Float32Array) => {
    const size = logits.length / ranks;
    return Array.from(
      { length: ranks },
      (_, i) => problem.predictions(logits.subarray(i * size, (i + 1) * size)),
    );
  };
  return {
    name,
    examples,
    metrics,
    problem,
    words: words && { starts: starts!, numbers: words.numbers },
    predictionsAt,
    score(ranks, logits) {
      const predictions = predictionsAt(ranks.length, logits);
      return ranks.map((rank, i) => ({
        rank,
        metrics: scoresOf(problem, metrics, predictions[i]!, labels),
      }));
    },
  };
}
