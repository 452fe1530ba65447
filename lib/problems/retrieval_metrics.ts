/**
 * Metrics of retrieval, as `InformationRetrievalEvaluator` of
 * sentence-transformers computes them. All need of the ranking of a query only
 * the positions of its relevant texts, which {@linkcode relevantPositions}
 * finds without sorting the corpus.
 */
import { metricNamed, type Values } from "./problem.ts";

/**
 * Positions of the relevant texts of a query in the ranking of a corpus, from
 * 1, in ascending order. Of equally similar texts, that with the smaller number
 * comes first.
 *
 * @param similarities Of the query and each text of the corpus
 * @param relevant Numbers of the relevant texts, each once
 * @throws {RangeError} If a similarity is NaN, or a number is of no text
 */
export function relevantPositions(
  similarities: Values,
  relevant: Values,
): Int32Array {
  for (let text = 0; text < similarities.length; text++) {
    if (Number.isNaN(similarities[text])) {
      throw new RangeError(`The similarity to text ${text} is NaN`);
    }
  }
  const positions = Int32Array.from(relevant, (text) => {
    const ofText = similarities[text];
    if (ofText === undefined) {
      throw new RangeError(
        `The corpus has ${similarities.length} texts, and none with the number ${text}`,
      );
    }
    let position = 1;
    for (let other = 0; other < similarities.length; other++) {
      const ofOther = similarities[other]!;
      const isFirst = ofOther > ofText || ofOther === ofText && other < text;
      if (isFirst) position++;
    }
    return position;
  });
  return positions.sort();
}

/**
 * Score of a query by the positions of its relevant texts, of which there is at
 * least one.
 */
type RankingMetric = (positions: Int32Array) => number;

/** 1 if a relevant text is among the first `k`. */
function accuracyAt(k: number): RankingMetric {
  return (positions) => positions[0]! <= k ? 1 : 0;
}

/** Share of the relevant texts that are among the first `k`. */
function recallAt(k: number): RankingMetric {
  return (positions) =>
    positions.filter((position) => position <= k).length / positions.length;
}

/**
 * 1 / position of the first relevant text; 0 if it is not among the first `k`.
 */
function reciprocalRankAt(k: number): RankingMetric {
  return (positions) => positions[0]! <= k ? 1 / positions[0]! : 0;
}

/**
 * Sum of 1 / log2(1 + position) over the relevant texts among the first `k`,
 * divided by that of the best ranking.
 */
function normalizedGainAt(k: number): RankingMetric {
  return (positions) => {
    let gain = 0;
    let best = 0;
    for (const [i, position] of positions.entries()) {
      if (position <= k) gain += 1 / Math.log2(1 + position);
      if (i < k) best += 1 / Math.log2(2 + i);
    }
    return gain / best;
  };
}

/**
 * Mean of the precisions at the relevant texts among the first `k`: those that
 * are not among them count as 0, as far as `k` positions could have them.
 */
function averagePrecisionAt(k: number): RankingMetric {
  return (positions) => {
    let sum = 0;
    for (const [i, position] of positions.entries()) {
      if (position <= k) sum += (i + 1) / position;
    }
    return sum / Math.min(k, positions.length);
  };
}

/** Metrics of the ranking of a query, by name. */
export const RETRIEVAL_METRICS: Readonly<Record<string, RankingMetric>> = {
  "accuracy@1": accuracyAt(1),
  "accuracy@10": accuracyAt(10),
  "recall@10": recallAt(10),
  "mrr@10": reciprocalRankAt(10),
  "ndcg@10": normalizedGainAt(10),
  "map@100": averagePrecisionAt(100),
};

/**
 * Score of each query, `[queries]`; the metric is the mean of all, or of those
 * that a bootstrap draws.
 *
 * @param positions Of each query, as {@linkcode relevantPositions} gives them
 * @throws {TypeError} If there is no such metric
 */
export function retrievalScores(
  metric: string,
  positions: readonly Int32Array[],
): Float64Array {
  return Float64Array.from(positions, metricNamed(RETRIEVAL_METRICS, metric));
}
