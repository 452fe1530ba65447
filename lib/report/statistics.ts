import { quantileNormal } from "vega-statistics";
import { splitMix32 } from "../engine/random.ts";
import type { Scorer } from "../problems/problem.ts";
import { isShare } from "./format.ts";
import type { Axis, Interval, RankEvidence, Recommendation } from "./report.ts";

/** Arithmetic mean; NaN for no values. */
export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / values.length;
}

/** Sample variance (divisor n - 1); NaN for fewer than two values. */
export function variance(values: ArrayLike<number>): number {
  const centre = mean(values);
  let squares = 0;
  for (let i = 0; i < values.length; i++) squares += (values[i]! - centre) ** 2;
  return squares / (values.length - 1);
}

/** Sample standard deviation (divisor n - 1); NaN for fewer than two values. */
export function deviation(values: ArrayLike<number>): number {
  return Math.sqrt(variance(values));
}

/**
 * Quantile by linear interpolation between order statistics (type 7 of Hyndman
 * and Fan 1996, NumPy's default); NaN if a value is NaN.
 *
 * @param share Between 0 and 1; 0.5 gives the median.
 */
export function quantile(values: ArrayLike<number>, share: number): number {
  const sorted = Float64Array.from(values).sort();
  const position = share * (sorted.length - 1);
  const below = Math.floor(position);
  const low = sorted[below] ?? NaN;
  const high = sorted[below + 1] ?? low;
  // Float64Array.sort() puts NaN last.
  return Number.isNaN(sorted.at(-1))
    ? NaN
    : low + (high - low) * (position - below);
}

/**
 * Percentile interval `[low, high]` of bootstrap replicates (Efron 1981), with
 * equal shares outside on both sides; null if a replicate is NaN.
 *
 * @param confidence Between 0 and 1: 0.95.
 */
export function interval(
  values: ArrayLike<number>,
  confidence: number,
): [number, number] | null {
  const tail = (1 - confidence) / 2;
  const low = quantile(values, tail);
  return Number.isNaN(low) ? null : [low, quantile(values, 1 - tail)];
}

/** Metrics from -1 to 1; all other shares are from 0 to 1. */
const CORRELATIONS = [
  "matthews",
  "pearson",
  "spearman",
  "pearson_cosine",
  "spearman_cosine",
];

/**
 * Interval of the mean of a metric by its bootstrap replicates. That of a share
 * is Wilson's (1927) for the number of examples with which a share has the
 * variance of the replicates, `p (1 - p) / variance` (effective sample size,
 * Korn and Graubard 1998). Where they have none, as at 0 and 1, it is that of
 * the examples that were scored, so that the interval is not a point. A loss
 * has percentiles. Null if the score or a replicate is NaN.
 *
 * @param examples Number of units that the bootstrap draws from
 */
export function scoreInterval(
  metric: string,
  score: number,
  replicates: Float64Array,
  { confidence, examples }: {
    readonly confidence: number;
    readonly examples: number;
  },
): Interval | null {
  const percentiles = interval(replicates, confidence);
  if (percentiles === null || Number.isNaN(score)) return null;
  if (!isShare(metric)) return percentiles;
  // Correlations are mapped to shares and back.
  const low = CORRELATIONS.includes(metric) ? -1 : 0;
  const range = 1 - low;
  const share = (score - low) / range;
  const spread = replicates.length < 2 ? 0 : variance(replicates) / range ** 2;
  const count = spread > ROUNDING ** 2
    ? share * (1 - share) / spread
    : examples;
  const z = quantileNormal((1 + confidence) / 2);
  const centre = (share + z ** 2 / (2 * count)) / (1 + z ** 2 / count);
  const half = z / (1 + z ** 2 / count) *
    Math.sqrt(share * (1 - share) / count + z ** 2 / (4 * count ** 2));
  const from = share === 0 ? 0 : Math.max(0, centre - half);
  const to = share === 1 ? 1 : Math.min(1, centre + half);
  return [low + range * from, low + range * to];
}

/**
 * Trainings that differ only in their seed, and their predictions for the same
 * examples.
 */
export interface Trainings {
  /** Empty for predictions without training. */
  readonly seeds: readonly number[];
  /** `[seeds][examples]`; `[1][examples]` without training */
  readonly predictions: readonly ArrayLike<number>[];
}

/** Draws `count` positions from `0..count - 1` with replacement. */
export type Draw = (count: number) => ArrayLike<number>;

/**
 * Paired bootstrap (Efron 1979) of scores over examples and seeds.
 *
 * Each replicate draws one set of examples for all trainings, and one set of
 * seeds for all entries with the same seeds; its score is the mean over the
 * drawn seeds. Shared draws make differences between entries paired. Examples
 * whose labels are all equal, with which nothing has a correlation, are drawn
 * again.
 *
 * @param units Number of what is drawn, of examples by default
 * @returns The replicates of each entry of `trainings`, `[replicates]`.
 */
export function bootstrap(
  trainings: readonly Trainings[],
  labels: ArrayLike<number>,
  scorer: Scorer,
  replicates: number,
  draw: Draw,
  units = labels.length,
): Float64Array[] {
  const scores = trainings.map(() => new Float64Array(replicates));
  const isEverDefined = !Number.isNaN(scorer()(labels));
  for (let replicate = 0; replicate < replicates; replicate++) {
    let score = scorer(draw(units));
    while (isEverDefined && Number.isNaN(score(labels))) {
      score = scorer(draw(units));
    }
    const seedDraws = new Map<string, ArrayLike<number>>();
    trainings.forEach(({ seeds, predictions }, t) => {
      const key = seeds.join();
      if (!seedDraws.has(key)) seedDraws.set(key, draw(seeds.length));
      const values = predictions.map(score);
      const drawn = seeds.length === 0 ? values : Array.from(
        seedDraws.get(key)!,
        (position) => values[position]!,
      );
      scores[t]![replicate] = mean(drawn);
    });
  }
  return scores;
}

/** A difference of two scores and its error. */
export interface Difference {
  readonly value: number;
  /** Replicates of a paired bootstrap. */
  readonly replicates: Float64Array;
  /** Variance that the replicates do not include. */
  readonly added: number;
}

/**
 * Confidence intervals that hold for all differences at once, so that the
 * largest of them may be picked: `value ± c s`, with `s` the standard error of
 * each and one `c` for all, the quantile over replicates of the largest
 * studentized deviation (max-T of Westfall and Young 1993), but at least the
 * normal quantile.
 *
 * @param sides 1 for intervals with one end, the upper one, at the requested
 * confidence; 2 for both ends.
 */
export function simultaneousIntervals(
  differences: readonly Difference[],
  confidence: number,
  sides: 1 | 2,
): (readonly [low: number, high: number])[] {
  const errors = differences.map(({ replicates }) => deviation(replicates));
  const largest = (differences[0]?.replicates ?? new Float64Array())
    .map((_, r) => {
      const deviations = differences.flatMap(({ value, replicates }, i) => {
        // Rounding errors of equal replicates are no deviation.
        if (errors[i]! < ROUNDING) return [];
        const deviation = (replicates[r]! - value) / errors[i]!;
        // The value exceeds the truth by as much as a replicate exceeds the
        // value.
        return sides === 1 ? -deviation : Math.abs(deviation);
      });
      return Math.max(0, ...deviations);
    });
  const c = Math.max(
    quantile(largest, confidence),
    quantileNormal(sides === 1 ? confidence : (1 + confidence) / 2),
  );
  return differences.map(({ value, added }, i) => {
    const half = c * Math.sqrt(errors[i]! ** 2 + added);
    return [value - half, value + half] as const;
  });
}

/**
 * Draws from a seeded generator, so that the same seed gives the same report.
 */
export function seededDraw(seed: number): Draw {
  const next = splitMix32(seed);
  return (count) => {
    const drawn = new Int32Array(count);
    for (let i = 0; i < count; i++) {
      drawn[i] = Math.floor((next() >>> 0) / 2 ** 32 * count);
    }
    return drawn;
  };
}

/** Main metric by rank, mean over seeds, and its bootstrap replicates. */
export interface ScoreCurve {
  /** -1 if lower values are better. */
  readonly sign: 1 | -1;
  /** Ascending. */
  readonly ranks: readonly number[];
  /** NaN if undefined. */
  readonly scores: readonly number[];
  /** Replicates of one bootstrap, `[ranks][replicates]`. */
  readonly means: readonly Float64Array[];
  /** Undefined for a mean of several bootstraps. */
  readonly redraw?: Redraw | undefined;
}

/**
 * Draws further replicates of some ranks, `[ranks][count]`. Repeated calls give
 * the same replicates.
 */
export type Redraw = (
  ranks: readonly number[],
  count: number,
) => Float64Array[];

/** A curve at some of its ranks. */
export function curveAt(
  { sign, ranks: all, scores, means, redraw }: ScoreCurve,
  ranks: readonly number[],
): ScoreCurve {
  const indices = ranks.map((rank) => all.indexOf(rank));
  return {
    sign,
    ranks,
    scores: indices.map((i) => scores[i]!),
    means: indices.map((i) => means[i]!),
    redraw,
  };
}

/**
 * Axes over which the area under a curve is taken: the rank, or its logarithm,
 * in which low ranks count as much as high ones.
 */
const AXES: Readonly<Record<Axis, (rank: number) => number>> = {
  linear: (rank) => rank,
  log2: Math.log2,
};

/** A value for each axis. */
export function eachAxis<T>(valueOf: (axis: Axis) => T): Record<Axis, T> {
  return { linear: valueOf("linear"), log2: valueOf("log2") };
}

/**
 * Area under the curve by the trapezoidal rule, divided by the range of the
 * axis: the mean score over that range (AURAC of arXiv 2605.07850). For a
 * single rank, its score.
 */
export function areaUnderCurve(
  { ranks, scores }: Pick<ScoreCurve, "ranks" | "scores">,
  axis: Axis = "linear",
): number {
  const at = ranks.map(AXES[axis]);
  let area = 0;
  for (let i = 1; i < at.length; i++) {
    area += (at[i]! - at[i - 1]!) * (scores[i]! + scores[i - 1]!) / 2;
  }
  const range = at.at(-1)! - at[0]!;
  return range === 0 ? scores[0]! : area / range;
}

/** Areas under the curves of all replicates, `[replicates]`. */
export function areasUnder(
  { ranks, means }: Pick<ScoreCurve, "ranks" | "means">,
  axis: Axis,
) {
  return means[0]!.map((_, r) =>
    areaUnderCurve({ ranks, scores: means.map((values) => values[r]!) }, axis)
  );
}

/** Tolerance that keeps rounding errors of sums from deciding a comparison. */
const ROUNDING = 1e-12;

/**
 * Replicates that decide whether a bound is within the margin, where fewer
 * leave that open. The Monte Carlo error of a 95 % bound is then 2 % of the
 * standard error of the loss.
 */
const DECIDING_REPLICATES = 10_000;

/** Standard errors within which a bound may lie because of the draws alone. */
const ERRORS = 3;

/**
 * Recommends the smallest rank that is not inferior to the best one: a
 * one-sided non-inferiority test by percentiles of paired bootstrap
 * differences.
 *
 * The bound of a loss has a Monte Carlo error, by which another seed of the
 * bootstrap could recommend another rank. So a rank counts as sufficient only
 * if its bound is within the margin by {@linkcode ERRORS} standard errors;
 * where neither this nor the opposite holds, {@linkcode DECIDING_REPLICATES}
 * decide.
 *
 * The best rank is treated as known although the same examples selected it.
 * This overestimates the losses of the others, so the choice errs towards
 * larger ranks.
 *
 * @param settings.margin Largest acceptable loss, in units of the score.
 * @returns Null if a score is NaN.
 */
export function recommend(
  { sign, ranks, redraw, ...curve }: ScoreCurve,
  { margin, confidence }: {
    readonly margin: number;
    readonly confidence: number;
  },
): Recommendation | null {
  if (curve.means.some((values) => Number.isNaN(mean(values)))) return null;
  const scores = curve.scores.map((score) => sign * score);
  const highest = Math.max(...scores);
  const best = scores.findIndex((score) => score >= highest - ROUNDING);
  if (best < 0) return null;
  const evidence: RankEvidence[] = [];
  let recommended: number | undefined;
  for (const [i, rank] of ranks.entries()) {
    const ofRank = curve.means[i]!;
    const ofBest = curve.means[best]!;
    const losses = ofRank.map((score, r) => sign * (ofBest[r]! - score));
    let bounds = quantileBounds(losses, confidence);
    const isOpen = bounds.low <= margin + ROUNDING &&
      bounds.high > margin + ROUNDING;
    const missing = DECIDING_REPLICATES - losses.length;
    if (isOpen && missing > 0 && redraw && recommended === undefined) {
      const [more, moreOfBest] = redraw([rank, ranks[best]!], missing);
      const added = more!.map((score, r) => sign * (moreOfBest![r]! - score));
      bounds = quantileBounds([...losses, ...added], confidence);
    }
    const sufficient = bounds.high <= margin + ROUNDING;
    evidence.push({
      rank,
      loss: scores[best]! - scores[i]!,
      bound: bounds.value,
      boundAtMost: bounds.high,
      sufficient,
    });
    if (sufficient) recommended ??= rank;
  }
  return {
    rank: recommended!,
    /** Rank with the highest score; the smallest on a tie. */
    best: ranks[best]!,
    margin,
    confidence,
    evidence,
  };
}

/**
 * A quantile of a distribution, estimated from independent draws, and the
 * bounds of its Monte Carlo error: the quantiles whose shares differ by
 * {@linkcode ERRORS} binomial standard errors.
 */
function quantileBounds(draws: ArrayLike<number>, share: number) {
  const error = ERRORS * Math.sqrt(share * (1 - share) / draws.length);
  return {
    low: quantile(draws, Math.max(0, share - error)),
    value: quantile(draws, share),
    high: quantile(draws, Math.min(1, share + error)),
  };
}
