import type { Outputs, ScoresInfo } from "../artifacts/scores.ts";
import { readLabelledTokens, type TokensInfo } from "../artifacts/tokens.ts";
import { type LabelledExamples, wordStarts } from "../data/example.ts";
import type { Problem } from "../problems/problem.ts";
import { problemOf, scoresOf } from "../problems/registry.ts";

/** A labelled split on which classifiers are scored. */
export class ScoredSplit {
  /** Name of the split. For MNLI, `validation` is `validation_matched`. */
  readonly name: string;
  readonly examples: LabelledExamples;
  /** Metrics of the data, the main one first. */
  readonly metrics: readonly string[];
  readonly problem: Problem;
  /** Where words stand, as scores have it. */
  readonly words: Outputs["words"];

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
    const { words } = this.examples;
    this.words = words &&
      { starts: wordStarts(this.examples), numbers: words.numbers };
    this.problem = problemOf(info, this.words?.starts);
  }

  /**
   * Computes the metrics at each rank.
   *
   * @param logits `[ranks, examples, outputs]`
   */
  score(ranks: readonly number[], logits: Float32Array): ScoresInfo["ranks"] {
    const { outputs, predictions } = this.problem;
    const { labels } = this.examples;
    const size = labels.length * outputs;
    return ranks.map((rank, i) => {
      const own = predictions(logits.subarray(i * size, (i + 1) * size));
      const metrics = scoresOf(this.problem, this.metrics, own, labels);
      return { rank, metrics };
    });
  }
}
