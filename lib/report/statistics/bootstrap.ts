import { mean, quantile } from "./sample.ts";

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
