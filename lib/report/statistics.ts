/** Arithmetic mean; NaN of nothing. */
export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / values.length;
}

/** Standard deviation of a sample (divided by n - 1); NaN of fewer than two values. */
export function deviation(values: ArrayLike<number>): number {
  const centre = mean(values);
  let squares = 0;
  for (let i = 0; i < values.length; i++) squares += (values[i]! - centre) ** 2;
  return Math.sqrt(squares / (values.length - 1));
}

/**
 * Quantile, interpolated between the neighbours in order (Hyndman and Fan's
 * type 7, NumPy's default); NaN if a value is.
 *
 * @param share Between 0 and 1: 0.5 is the median.
 */
export function quantile(values: ArrayLike<number>, share: number): number {
  const sorted = Float64Array.from(values).sort();
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const low = sorted[below] ?? NaN;
  const high = sorted[below + 1] ?? low;
  // NaN sorts last, so one that is anywhere is here.
  return Number.isNaN(sorted.at(-1))
    ? NaN
    : low + (high - low) * (place - below);
}

/** The middle share of a sample: `[low, high]`. */
export function interval(
  values: ArrayLike<number>,
  confidence: number,
): [number, number] {
  const tail = (1 - confidence) / 2;
  return [quantile(values, tail), quantile(values, 1 - tail)];
}

/** A figure that compares predictions with labels; higher is better. */
export type Metric = (
  predictions: ArrayLike<number>,
  labels: ArrayLike<number>,
) => number;

/** What trainings that differ in their seed alone predict for the same examples. */
export interface Trainings {
  readonly seeds: readonly number[];
  /** `[seeds][examples]` */
  readonly predictions: readonly ArrayLike<number>[];
}

/** Draws positions: given n, n of `0..n - 1`, with replacement. */
export type Draw = (count: number) => ArrayLike<number>;

/** Scores of the replicates of a bootstrap, `[replicates]`. */
export interface Replicates {
  /** Mean over the seeds that a replicate drew. */
  readonly means: Float64Array;
  /** Median over the same seeds. */
  readonly medians: Float64Array;
}

/**
 * Bootstrap of scores over examples and seeds (Efron 1979; both levels are
 * drawn, as both are samples).
 *
 * Each replicate draws examples, which all trainings share, and seeds, which
 * trainings with the same seeds share; the score is the metric's mean, or
 * median, over the drawn seeds. So differences between the results are paired.
 *
 * @returns For each of the trainings the scores of each replicate.
 */
export function bootstrap(
  trainings: readonly Trainings[],
  labels: ArrayLike<number>,
  metric: Metric,
  replicates: number,
  draw: Draw,
): Replicates[] {
  const examples = labels.length;
  const drawnLabels = new Float64Array(examples);
  const drawnPredictions = new Float64Array(examples);
  const scores = trainings.map(() => ({
    means: new Float64Array(replicates),
    medians: new Float64Array(replicates),
  }));
  for (let replicate = 0; replicate < replicates; replicate++) {
    const order = draw(examples);
    gather(labels, order, drawnLabels);
    const seedDraws = new Map<string, ArrayLike<number>>();
    trainings.forEach(({ seeds, predictions }, t) => {
      const key = seeds.join();
      if (!seedDraws.has(key)) seedDraws.set(key, draw(seeds.length));
      const values = predictions.map((values) => {
        gather(values, order, drawnPredictions);
        return metric(drawnPredictions, drawnLabels);
      });
      const drawn = Array.from(
        seedDraws.get(key)!,
        (position) => values[position]!,
      );
      scores[t]!.means[replicate] = mean(drawn);
      scores[t]!.medians[replicate] = quantile(drawn, 0.5);
    });
  }
  return scores;
}

function gather(
  values: ArrayLike<number>,
  order: ArrayLike<number>,
  into: Float64Array,
): void {
  for (let i = 0; i < into.length; i++) into[i] = values[order[i]!]!;
}

/** Draws with a private generator (SplitMix32), so that a report is the same each time. */
export function seededDraw(seed: number): Draw {
  let state = seed | 0;
  const uniform = () => {
    state = (state + 0x9e3779b9) | 0;
    let bits = state;
    bits = Math.imul(bits ^ (bits >>> 16), 0x21f0aaad);
    bits = Math.imul(bits ^ (bits >>> 15), 0x735a2d97);
    return ((bits ^ (bits >>> 15)) >>> 0) / 2 ** 32;
  };
  return (count) =>
    Int32Array.from({ length: count }, () => Math.floor(uniform() * count));
}

/** Score by rank, in ascending order of rank. */
interface Curve {
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

/** How a rank compares with the best one. */
interface RankEvidence {
  readonly rank: number;
  /** Best score less the rank's score. */
  readonly loss: number;
  /** What the loss stays below with the confidence asked for. */
  readonly bound: number;
  /** True if the bound is within the margin. */
  readonly sufficient: boolean;
}

/** A choice of rank, and why. */
interface Recommendation {
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
