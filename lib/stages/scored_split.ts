import { CORPUS } from "../artifacts/dataset.ts";
import type { Outputs, ScoresInfo } from "../artifacts/scores.ts";
import {
  readLabelledTokens,
  readTokens,
  type TokensInfo,
} from "../artifacts/tokens.ts";
import {
  differentSequences,
  type EncodedExamples,
  type LabelledExamples,
  wordStarts,
} from "../data/example.ts";
import type { Problem } from "../problems/problem.ts";
import { problemOf, scoresOf } from "../problems/registry.ts";

/** A labelled split on which classifiers are scored. */
export interface ScoredSplit {
  readonly name: string;
  readonly examples: LabelledExamples;
  /**
   * What a model computes of them: themselves, or for embeddings each of their
   * different sequences once, and those of the corpus.
   */
  readonly evaluated: EncodedExamples;
  /** Metrics of the data, the main one first. */
  readonly metrics: TokensInfo["metrics"];
  readonly problem: Problem;
  /** Where words stand, as scores have it. */
  readonly words: Outputs["words"];
  /**
   * Logits, `[ranks, units, outputs]`, by what a model gives for
   * {@linkcode evaluated}: itself, or what embeddings say of all examples
   * together.
   */
  logitsOf(ranks: number, outputs: Float32Array): Float32Array;
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
  const atRanks = (ranks: number, values: Float32Array) => {
    const size = values.length / ranks;
    return Array.from(
      { length: ranks },
      (_, i) => values.subarray(i * size, (i + 1) * size),
    );
  };
  const predictionsAt = (ranks: number, logits: Float32Array) =>
    atRanks(ranks, logits).map((it) => problem.predictions(it));
  const isEmbedded = problem.fromEmbeddings !== undefined;
  const corpus = isEmbedded && Object.hasOwn(splits, CORPUS)
    ? [readTokens(folder, info, CORPUS)]
    : [];
  const { sequences, numbers } = isEmbedded
    ? differentSequences(examples, ...corpus)
    : { sequences: examples, numbers: new Int32Array() };
  return {
    name,
    examples,
    evaluated: sequences,
    logitsOf(ranks, outputs) {
      if (problem.fromEmbeddings === undefined) return outputs;
      const byRank = atRanks(ranks, outputs).map((values) =>
        problem.fromEmbeddings!({ values, numbers }, labels)
      );
      const logits = new Float32Array(ranks * byRank[0]!.length);
      byRank.forEach((it, i) => logits.set(it, i * it.length));
      return logits;
    },
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
