/** Score by rank, in ascending order of rank. */
export interface Curve {
  readonly ranks: readonly number[];
  readonly scores: ArrayLike<number>;
}

/**
 * Area under the curve by the trapezoid rule, divided by the range of ranks:
 * the mean score over that range; of a single rank, its score.
 */
export function areaUnderCurve({ ranks, scores }: Curve): number {
  let area = 0;
  for (let i = 1; i < ranks.length; i++) {
    area += (ranks[i]! - ranks[i - 1]!) * (scores[i]! + scores[i - 1]!) / 2;
  }
  const range = ranks.at(-1)! - ranks[0]!;
  return range === 0 ? scores[0]! : area / range;
}

/**
 * The rank from which more rank gives little more score: the one farthest above the line
 * from the first point to the last (the Kneedle of Satopää et al. 2011, without smoothing).
 *
 * @returns Nothing if the curve does not rise, or nowhere stands above that line.
 */
export function elbow({ ranks, scores }: Curve): number | undefined {
  const last = ranks.length - 1;
  const rise = scores[last]! - scores[0]!;
  const range = ranks[last]! - ranks[0]!;
  if (!(rise > 0)) return undefined;
  let best: number | undefined;
  let farthest = 0;
  ranks.forEach((rank, i) => {
    const above = (scores[i]! - scores[0]!) / rise - (rank - ranks[0]!) / range;
    // Rounding must not make an elbow of a straight line.
    if (above > farthest + 1e-12) [best, farthest] = [rank, above];
  });
  return best;
}
