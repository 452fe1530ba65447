import { mean, quantile } from "./sample.ts";

/** How a rank compares with the best one. */
export interface RankEvidence {
  readonly rank: number;
  /** Best score less the rank's score. */
  readonly loss: number;
  /** What the loss stays below with the confidence asked for. */
  readonly bound: number;
  /** True if the bound is within the margin. */
  readonly sufficient: boolean;
}

/** A choice of rank, and why. */
export interface Recommendation {
  readonly rank: number;
  /** The rank with the highest score; the smaller of equals. */
  readonly best: number;
  readonly margin: number;
  readonly confidence: number;
  readonly evidence: readonly RankEvidence[];
}

/** Scores are sums of shares, whose rounding must not decide. */
const ROUNDING = 1e-12;

/**
 * The smallest rank whose score is not worse than the best one's by more than
 * a margin: a one-sided test of non-inferiority by the percentiles of paired
 * bootstrap differences.
 *
 * The best rank is taken as known though the same examples chose it, which
 * makes the losses of the others look larger: the choice errs to larger ranks.
 *
 * @param ranks Ascending.
 * @param scores Score of each rank.
 * @param replicates Scores of each rank in the replicates of one bootstrap, `[ranks][replicates]`.
 * @returns Nothing if a score is undefined.
 */
export function recommend(
  ranks: readonly number[],
  scores: readonly number[],
  replicates: readonly Float64Array[],
  { margin, confidence }: {
    readonly margin: number;
    readonly confidence: number;
  },
): Recommendation | undefined {
  if (replicates.some((values) => Number.isNaN(mean(values)))) return undefined;
  const highest = Math.max(...scores);
  const best = scores.findIndex((score) => score >= highest - ROUNDING);
  if (best < 0) return undefined;
  const evidence = ranks.map((rank, i): RankEvidence => {
    const losses = replicates[i]!.map((score, r) =>
      replicates[best]![r]! - score
    );
    const bound = quantile(losses, confidence);
    return {
      rank,
      loss: scores[best]! - scores[i]!,
      bound,
      sufficient: bound <= margin + ROUNDING,
    };
  });
  return {
    rank: evidence.find(({ sufficient }) => sufficient)!.rank,
    best: ranks[best]!,
    margin,
    confidence,
    evidence,
  };
}
