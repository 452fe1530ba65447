import { rankScale } from "./rank_vectors.ts";

/** Trains the adapters at several ranks ("prefixes") in every step. */
export interface Matryoshka {
  readonly objective: MatryoshkaObjective;
  /** Ranks of the prefixes, ascending; the last is the maximum rank. */
  readonly ranks: readonly number[];
  /** Weight of each of them; only their proportions count. */
  readonly weights: readonly number[];
}

/** What is weighted over the prefixes. */
export type MatryoshkaObjective =
  /** Their losses: every sequence is computed at each rank, and the loss is the weighted mean. */
  | "losses"
  /**
   * What they add to a projection: `A P B` with a fixed diagonal P, the
   * weighted mean of the prefixes' scales, and one loss (arXiv 2605.07850). A
   * step costs as much as one of LoRA.
   *
   * The authors' public code has both: the sum of the scales (`diag`) and
   * their mean (`binary`). A sum over n ranks trains what is n times as large
   * as any prefix in use; alpha / b over ranks 1 to 8 makes it 2.7 times the
   * scale of rank 1 and 22 times that of rank 8 on row 1.
   */
  | "outputs";

/**
 * The objective over prefixes of an adapter.
 *
 * @param ranks By default every rank
 * @param weights By default all alike
 * @throws {RangeError} If a rank is not one of the adapter's, or the ranks are
 * not ascending up to the maximum, or there are not as many positive weights.
 */
export function matryoshka(
  objective: MatryoshkaObjective,
  maxRank: number,
  ranks: readonly number[] = Array.from({ length: maxRank }, (_, i) => i + 1),
  weights: readonly number[] = ranks.map(() => 1),
): Matryoshka {
  const ascending = ranks.every((rank, i) =>
    Number.isInteger(rank) && rank > (ranks[i - 1] ?? 0)
  );
  if (!ascending || ranks.at(-1) !== maxRank) {
    throw new RangeError(
      `The ranks to train, ${
        ranks.join(", ")
      }, must ascend from 1 or more to the adapter's rank ${maxRank}, which else would hold rows that nothing trains`,
    );
  }
  if (weights.length !== ranks.length || !weights.every((it) => it > 0)) {
    throw new RangeError(
      `Expected a positive weight for each of ${ranks.length} ranks, not ${
        weights.join(", ")
      }`,
    );
  }
  return { objective, ranks, weights };
}

/** Ranks at which every sequence is computed in a step. */
export function matryoshkaGroups({ objective, ranks }: Matryoshka): number {
  return objective === "losses" ? ranks.length : 1;
}

/**
 * Scales of the rows in a step, `[groups, maxRank]` flat: those of each prefix;
 * or their weighted mean, the diagonal of P.
 */
export function matryoshkaScale(
  { objective, ranks, weights }: Matryoshka,
  alpha: number,
  maxRank: number,
): Float32Array<ArrayBuffer> {
  const scales = ranks.map((rank) => rankScale(rank, alpha, maxRank));
  const shares = sharesOf(weights);
  return objective === "losses"
    ? Float32Array.from(scales.flatMap((scale) => [...scale]))
    : Float32Array.from(
      { length: maxRank },
      (_, row) =>
        scales.reduce((sum, scale, i) => sum + shares[i]! * scale[row]!, 0),
    );
}

/** Shares of the prefixes' losses in that of a step; they add up to 1. */
export function lossShares({ objective, weights }: Matryoshka): number[] {
  return objective === "outputs" ? [1] : sharesOf(weights);
}

/** Weights as parts of 1. */
function sharesOf(weights: readonly number[]): number[] {
  const total = weights.reduce((sum, weight) => sum + weight);
  return weights.map((weight) => weight / total);
}
