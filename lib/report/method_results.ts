import { methodKey } from "./methods.ts";
import type { Result } from "./result.ts";
import {
  bootstrap,
  type Draw,
  type Metric,
  type Replicates,
  type Trainings,
} from "./statistics/bootstrap.ts";

/** Results of one method, and what the bootstrap makes of them. */
export interface MethodResults {
  readonly results: readonly Result[];
  readonly ranks: readonly number[];
  /** By rank; the seeds that were trained for it. */
  readonly trainings: readonly Trainings[];
  /** By rank; the scores of the replicates. */
  readonly replicates: readonly Replicates[];
}

/** Sorts results by method, and bootstraps a metric for all of them at once, so that what it gives is paired. */
export function methodsOf(
  results: readonly Result[],
  metric: Metric,
  replicates: number,
  draw: Draw,
): MethodResults[] {
  const groups = [
    ...Map.groupBy(results, methodKey).values(),
  ].map((group) => group.toSorted((a, b) => a.seed - b.seed));
  const curves = groups.map((group) => {
    const ranks = ranksOf(group);
    return { ranks, trainings: ranks.map((rank) => trainingsAt(group, rank)) };
  });
  const scores = bootstrap(
    curves.flatMap(({ trainings }) => trainings),
    results[0]!.labels,
    metric,
    replicates,
    draw,
  );
  return curves.map(({ ranks, trainings }, i) => ({
    results: groups[i]!,
    ranks,
    trainings,
    replicates: scores.splice(0, ranks.length),
  }));
}

/** Every rank that results have, ascending. */
export function ranksOf(results: readonly Result[]): number[] {
  const ranks = results.flatMap((it) => it.ranks.map(({ rank }) => rank));
  return [...new Set(ranks)].sort((a, b) => a - b);
}

function trainingsAt(results: readonly Result[], rank: number): Trainings {
  const found = results.flatMap((result) =>
    result.ranks
      .filter((other) => other.rank === rank)
      .map(({ predictions }) => ({ seed: result.seed, predictions }))
  );
  const seeds = found.map(({ seed }) => seed);
  if (new Set(seeds).size !== seeds.length) {
    const [{ task, method }] = results as [Result];
    throw new TypeError(
      `Rank ${rank} of "${method}" on "${task}" is evaluated twice for one seed (${
        seeds.join(", ")
      }); a dimension of the matrix tells variants apart`,
    );
  }
  return { seeds, predictions: found.map(({ predictions }) => predictions) };
}

/** Each metric at a rank, one value for each seed. */
export function samplesAt(
  results: readonly Result[],
  rank: number,
  metrics: readonly string[],
): Record<string, number[]> {
  const found = results.flatMap((result) =>
    result.ranks.filter((other) => other.rank === rank)
  );
  return Object.fromEntries(
    metrics.map((name) => [name, found.map(({ metrics }) => metrics[name]!)]),
  );
}
