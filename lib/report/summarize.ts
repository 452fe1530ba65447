import { methodKey, methodOf } from "./methods.ts";
import type { CostSummary, MethodSummary } from "./report.ts";
import type { Result, TrainingCost } from "./result.ts";
import {
  areaUnderCurve,
  bootstrap,
  deviation,
  type Draw,
  elbow,
  interval,
  mean,
  type Metric,
  quantile,
  recommend,
  type Replicates,
  type Trainings,
} from "./statistics.ts";

/** Puts what a method reached and cost into figures. */
export function summarize(
  method: MethodResults,
  metrics: readonly string[],
  { confidence, margin }: {
    readonly confidence: number;
    readonly margin: number;
  },
): MethodSummary {
  const { results, ranks, trainings, replicates } = method;
  const [first] = results as [Result];
  const { role } = methodOf(first.method);
  const samples = ranks.map((rank) => samplesAt(results, rank, metrics));
  const scores = samples.map((sample) => mean(sample[metrics[0]!]!));
  const means = replicates.map(({ means }) => means);
  return {
    role,
    method: first.method,
    variant: { ...first.variant },
    ranks: ranks.map((rank, i) => ({
      rank,
      seeds: trainings[i]!.seeds,
      metrics: Object.fromEntries(
        metrics.map((name) => [name, describe(samples[i]![name]!)]),
      ),
      intervals: {
        mean: definedInterval(replicates[i]!.means, confidence),
        median: definedInterval(replicates[i]!.medians, confidence),
      },
    })),
    area: {
      value: defined(areaUnderCurve({ ranks, scores })),
      interval: definedInterval(areasOver(ranks, method), confidence),
    },
    elbow: elbow({ ranks, scores }) ?? null,
    recommendation: role === "bound"
      ? null
      : recommend(ranks, scores, means, { margin, confidence }) ?? null,
    evaluatedIn: [...new Set(results.map(({ precision }) => precision))],
    settings: settingsOf(results),
    cost: costOf(results),
  };
}

/** Area under the rank curve in each replicate, over some of a method's ranks. */
export function areasOver(
  ranks: readonly number[],
  method: MethodResults,
): Float64Array {
  const curves = ranks.map((rank) =>
    method.replicates[method.ranks.indexOf(rank)]!.means
  );
  return curves[0]!.map((_, r) =>
    areaUnderCurve({ ranks, scores: curves.map((means) => means[r]!) })
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
function ranksOf(results: readonly Result[]): number[] {
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

/** A result with a training behind it. */
type Trained = Result & { readonly training: TrainingCost };

function allTrained(results: readonly Result[]): results is readonly Trained[] {
  return results.every(({ training }) => training !== undefined);
}

/**
 * What a method's sweep costs, from the measured times and counted operations of its stages;
 * null if an adapter was not trained here.
 *
 * A sweep is one training for each rank of an adapter: one for DyLoRA, whose
 * adapter has the largest, one a rank for LoRA. However often an adapter was
 * evaluated, it was trained once. Seeds repeat a sweep, so their mean is taken.
 */
export function costOf(results: readonly Result[]): CostSummary | null {
  if (!allTrained(results)) return null;
  const repeats = [
    ...Map.groupBy(results, ({ training }) => training.rank).values(),
  ].map((group) => [...Map.groupBy(group, ({ seed }) => seed).values()]);
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const sweep = (cost: (result: Trained) => number) =>
    sum(repeats.map((seeds) => mean(seeds.map(([first]) => cost(first!)))));
  const evaluations = (cost: (result: Trained) => number) =>
    sum(
      repeats.map((seeds) =>
        mean(seeds.map((evaluated) => sum(evaluated.map(cost))))
      ),
    );
  const trainingSeconds = sweep(({ training }) => training.seconds);
  const selection = ({ epoch, training }: Trained) =>
    epoch === "best" ? training.selection : undefined;
  const selectionSeconds = sweep((it) => selection(it)?.seconds ?? 0);
  const reductionSeconds = sweep((result) => result.reductionSeconds);
  const evaluationSeconds = evaluations((it) => it.evaluationSeconds);
  const trainingFlops = sweep(({ training }) => training.flops);
  const selectionFlops = sweep((it) => selection(it)?.flops ?? 0);
  const evaluationFlops = evaluations((it) => it.evaluationFlops);
  return {
    ranks: ranksOf(results),
    trainings: repeats.length,
    stepSeconds: mean(
      repeats.flat().map(([first]) => first!.training.stepSeconds),
    ),
    steps: sweep(({ training }) => training.steps),
    examples: sweep(({ training }) => training.examples),
    trainingSeconds,
    selectionSeconds,
    reductionSeconds,
    evaluationSeconds,
    sweepSeconds: trainingSeconds + selectionSeconds + reductionSeconds +
      evaluationSeconds,
    trainingFlops,
    selectionFlops,
    evaluationFlops,
    sweepFlops: trainingFlops + selectionFlops + evaluationFlops,
  };
}

/** Every value of each setting that the trainings have; null if an adapter was not trained here. */
function settingsOf(
  results: readonly Result[],
): MethodSummary["settings"] {
  if (!allTrained(results)) return null;
  const settings = results.map(({ training }) => training.settings);
  const distinct = <T>(values: readonly T[]) => [...new Set(values)];
  return {
    epochs: distinct(settings.map(({ epochs }) => epochs)),
    batchSize: distinct(settings.map(({ batchSize }) => batchSize)),
    learningRate: distinct(settings.map(({ learningRate }) => learningRate)),
    alpha: distinct(settings.flatMap(({ alpha }) => alpha ?? [])),
    scale: distinct(settings.flatMap(({ scale }) => scale ?? [])),
    precision: distinct(settings.map(({ precision }) => precision)),
    engine: distinct(settings.map(({ engine }) => engine)),
    startedFrom: distinct(settings.flatMap(({ start }) => start ?? [])),
    selectedOn: distinct(
      results.flatMap(({ epoch, training: { selection } }) =>
        epoch === "best" && selection ? [selection.split] : []
      ),
    ),
  };
}

/** A number as JSON has it: null for NaN. */
export function defined(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}

export function definedInterval(
  values: ArrayLike<number>,
  confidence: number,
): [number, number] | null {
  const [low, high] = interval(values, confidence);
  return Number.isNaN(low) ? null : [low, high];
}
