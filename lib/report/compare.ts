import { costOf } from "./cost.ts";
import type { Comparison, Contrast, MethodSummary, Report } from "./report.ts";
import type { Result } from "./result.ts";
import {
  bootstrap,
  type Draw,
  type Metric,
  type Trainings,
} from "./statistics/bootstrap.ts";
import { areaUnderCurve, elbow } from "./statistics/curve.ts";
import { recommend } from "./statistics/recommend.ts";
import { deviation, interval, mean, quantile } from "./statistics/sample.ts";

export interface CompareOptions {
  /** The function behind the name of a metric. */
  readonly metric: (name: string) => Metric;
  readonly draw: Draw;
  /** Replicates of the bootstrap. */
  readonly replicates: number;
  /** Of all intervals and of the recommendation: 0.95. */
  readonly confidence: number;
  /** How much worse than the best rank a recommended one may be. */
  readonly margin: number;
}

/** Compares what trainings of the same task reach on the same split, and what they cost. */
export function compare(
  results: readonly Result[],
  options: CompareOptions,
): Report {
  const groups = Map.groupBy(
    results,
    ({ task, split }) => JSON.stringify([task, split]),
  );
  return {
    comparisons: [...groups.values()].map((group) =>
      compareOne(group, options)
    ),
  };
}

/** Results of one method, and what the bootstrap makes of them. */
interface MethodResults {
  readonly results: readonly Result[];
  readonly ranks: readonly number[];
  /** By rank; the seeds that were trained for it. */
  readonly trainings: readonly Trainings[];
  /** By rank; the scores of the replicates. */
  readonly replicates: readonly Float64Array[];
}

function compareOne(
  results: readonly Result[],
  options: CompareOptions,
): Comparison {
  const [first] = results;
  const metrics = Object.keys(first!.ranks[0]!.metrics);
  checkSameExamples(results, metrics);
  const methods = methodsOf(results, metrics[0]!, options);
  const summaries = methods.map((method) =>
    summarize(method, metrics, options)
  );
  return {
    task: first!.task,
    title: first!.title,
    split: first!.split,
    examples: first!.labels.length,
    metrics,
    confidence: options.confidence,
    methods: summaries,
    contrasts: contrastsOf(methods, summaries, metrics[0]!, options),
  };
}

/** Bootstraps over examples need the same examples everywhere. */
function checkSameExamples(
  results: readonly Result[],
  metrics: readonly string[],
): void {
  const [{ task, split, labels }] = results as [Result];
  for (const other of results) {
    const same = other.labels.length === labels.length &&
      Array.from(labels).every((label, i) => label === other.labels[i]);
    if (!same) {
      throw new TypeError(
        `The scores of "${task}" on "${split}" are not of the same examples`,
      );
    }
    for (const { rank, metrics: found } of other.ranks) {
      if (String(Object.keys(found)) !== String(metrics)) {
        throw new TypeError(
          `The scores of "${task}" at rank ${rank} have the metrics ${
            Object.keys(found).join(", ")
          }, others have ${metrics.join(", ")}`,
        );
      }
    }
  }
}

function methodsOf(
  results: readonly Result[],
  metric: string,
  options: CompareOptions,
): MethodResults[] {
  const groups = [
    ...Map.groupBy(
      results,
      ({ role, method, variant }) => JSON.stringify([role, method, variant]),
    ).values(),
  ].map((group) => group.toSorted((a, b) => a.seed - b.seed));
  const curves = groups.map((group) => {
    const ranks = [
      ...new Set(
        group.flatMap((result) => result.ranks.map(({ rank }) => rank)),
      ),
    ].sort((a, b) => a - b);
    return { ranks, trainings: ranks.map((rank) => trainingsAt(group, rank)) };
  });
  // One bootstrap for all, so that what it gives is paired.
  const scores = bootstrap(
    curves.flatMap(({ trainings }) => trainings),
    results[0]!.labels,
    options.metric(metric),
    options.replicates,
    options.draw,
  );
  return curves.map(({ ranks, trainings }, i) => ({
    results: groups[i]!,
    ranks,
    trainings,
    replicates: scores.splice(0, ranks.length),
  }));
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
      })`,
    );
  }
  return { seeds, predictions: found.map(({ predictions }) => predictions) };
}

function summarize(
  { results, ranks, trainings, replicates }: MethodResults,
  metrics: readonly string[],
  { confidence, margin }: CompareOptions,
): MethodSummary {
  const [{ role, method, variant }] = results as [Result];
  const samples = ranks.map((rank) => samplesAt(results, rank, metrics));
  const scores = samples.map((sample) => mean(sample[metrics[0]!]!));
  const areas = replicates[0]!.map((_, r) =>
    areaUnderCurve({ ranks, scores: replicates.map((values) => values[r]!) })
  );
  return {
    role,
    method,
    variant,
    ranks: ranks.map((rank, i) => ({
      rank,
      seeds: trainings[i]!.seeds,
      metrics: Object.fromEntries(
        metrics.map((name) => [name, describe(samples[i]![name]!)]),
      ),
      interval: definedInterval(replicates[i]!, confidence),
    })),
    area: {
      value: defined(areaUnderCurve({ ranks, scores })),
      interval: definedInterval(areas, confidence),
    },
    elbow: elbow({ ranks, scores }) ?? null,
    recommendation:
      recommend(ranks, scores, replicates, { margin, confidence }) ?? null,
    cost: costOf(results),
  };
}

function samplesAt(
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

function describe(values: readonly number[]) {
  return {
    mean: defined(mean(values)),
    median: defined(quantile(values, 0.5)),
    deviation: defined(deviation(values)),
    values: values.map(defined),
  };
}

function contrastsOf(
  methods: readonly MethodResults[],
  summaries: readonly MethodSummary[],
  metric: string,
  { confidence }: CompareOptions,
): Contrast[] {
  const places = (role: Result["role"]) =>
    summaries.flatMap((summary, i) => summary.role === role ? [i] : []);
  return places("candidate").flatMap((candidate) =>
    places("baseline").map((baseline): Contrast => {
      const [ours, theirs] = [methods[candidate]!, methods[baseline]!];
      const [cost, theirCost] = [
        summaries[candidate]!.cost,
        summaries[baseline]!.cost,
      ];
      const shared = ours.ranks.filter((rank) => theirs.ranks.includes(rank));
      return {
        candidate,
        baseline,
        ranks: shared.map((rank) => {
          const [i, j] = [ours.ranks.indexOf(rank), theirs.ranks.indexOf(rank)];
          const differences = ours.replicates[i]!.map((score, r) =>
            score - theirs.replicates[j]![r]!
          );
          const scoreOf = ({ results }: MethodResults) =>
            mean(samplesAt(results, rank, [metric])[metric]!);
          return {
            rank,
            difference: defined(scoreOf(ours) - scoreOf(theirs)),
            interval: definedInterval(differences, confidence),
          };
        }),
        speedUp: {
          training: theirCost.trainingSeconds / cost.trainingSeconds,
          sweep: theirCost.sweepSeconds / cost.sweepSeconds,
          examples: theirCost.examples / cost.examples,
        },
      };
    })
  );
}

/** JSON has no NaN. */
function defined(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}

function definedInterval(
  values: ArrayLike<number>,
  confidence: number,
): [number, number] | null {
  const [low, high] = interval(values, confidence);
  return Number.isNaN(low) ? null : [low, high];
}
