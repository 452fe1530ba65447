import { methodName, roleOf } from "../engine/schedules/registry.ts";
import { signOf } from "../problems/registry.ts";
import { methodKey, ranksOf } from "./methods.ts";
import type { Result, TrainingCost } from "./result.ts";
import {
  areasUnder,
  areaUnderCurve,
  bootstrap,
  deviation,
  type Draw,
  eachAxis,
  interval,
  mean,
  recommend,
} from "./statistics.ts";

/** Settings of the bootstrap and of the recommendation. */
export interface CompareOptions {
  readonly draw: Draw;
  /** Number of bootstrap replicates. */
  readonly replicates: number;
  /** Confidence of the intervals and of the recommendation: 0.95. */
  readonly confidence: number;
  /** Largest acceptable loss of a recommended rank against the best one. */
  readonly margin: number;
}

/** Results of one method, with its curve in the main metric. */
export type MethodResults = ReturnType<typeof methodsOf>["methods"][number];

/** Score of a constant prediction in the main metric, and its bootstrap replicates. */
export type Constant = NonNullable<ReturnType<typeof methodsOf>["constant"]>;

/**
 * Groups results by method, and bootstraps the main metric, the first, of all methods at
 * once, so that their replicates are paired, also with those of a constant
 * prediction: the one with the highest score, which is taken as 0 if the problem
 * has none.
 *
 * @throws {Error} If a method has two results for the same rank and seed.
 */
export function methodsOf(
  results: readonly Result[],
  [main, ...others]: readonly [string, ...string[]],
  { replicates, draw }: CompareOptions,
) {
  const { labels, problem } = results[0]!;
  const sign = signOf(main);
  const units = problem.units(labels);
  const what = problem.classes.length > 0 ? "class" : "number";
  const scorer = problem.scorer(main, labels);
  const replicatesOf = (
    trainings: Parameters<typeof bootstrap>[0],
    by: typeof scorer,
  ) => bootstrap(trainings, labels, by, replicates, draw, units);
  const methods = [...Map.groupBy(results, methodKey).values()].map((found) => {
    const group = found.toSorted((a, b) => a.seed - b.seed);
    const ranks = ranksOf(group);
    return {
      /** By seed, ascending. */
      results: group,
      sign,
      ranks,
      scores: ranks.map((rank) => mean(valuesAt(group, rank, main))),
      trainings: ranks.map((rank) => trainingsAt(group, rank)),
    };
  });
  const score = scorer();
  // The one with the highest score, the smallest on a tie.
  const constants = problem.constants(labels).sort((a, b) => a - b)
    .map((label) => new Float64Array(labels.length).fill(label));
  const scores = constants.map(score);
  const constant = constants[scores.indexOf(Math.max(...scores))];
  const rest = replicatesOf([
    ...methods.flatMap(({ trainings }) => trainings),
    ...constant ? [{ seeds: [], predictions: [constant] }] : [],
  ], scorer);
  const withReplicates = problem.isSummed ? others : [];
  return {
    methods: methods.map(({ trainings, ...method }) => ({
      ...method,
      /** Seeds by rank. */
      seeds: trainings.map(({ seeds }) => seeds),
      means: rest.splice(0, trainings.length),
      /** Replicates of other metrics, `[ranks][replicates]`, where they have any. */
      others: new Map(
        withReplicates.map((name) => [
          name,
          replicatesOf(trainings, problem.scorer(name, labels)),
        ]),
      ),
    })),
    // No loss is one of knowing nothing.
    constant: sign < 0 ? undefined : {
      /** What it is. */
      name: problem.isSummed
        ? "writing nothing"
        : `always predicting the same ${what}`,
      score: constant ? score(constant) : 0,
      means: rest[0] ?? new Float64Array(replicates),
    },
  };
}

/** The scores and predictions at a rank, one per seed. */
export function resultsAt(results: readonly Result[], rank: number) {
  return results.flatMap(({ seed, ranks }) =>
    ranks.filter((it) => it.rank === rank).map((it) => ({ ...it, seed }))
  );
}

/** A metric at a rank, one value per seed. */
function valuesAt(
  results: readonly Result[],
  rank: number,
  metric: string,
): number[] {
  return resultsAt(results, rank).map(({ metrics }) => metrics[metric]!);
}

function trainingsAt(results: readonly Result[], rank: number) {
  const found = resultsAt(results, rank);
  const seeds = found.map(({ seed }) => seed);
  if (new Set(seeds).size !== seeds.length) {
    const [{ task, provenance }] = results as [Result];
    const [method, all] = [methodName(provenance), seeds.join(", ")];
    throw new Error(
      `Rank ${rank} of "${method}" on "${task}" is evaluated twice for one seed (${all}), and nothing in the settings of its trainings tells them apart`,
    );
  }
  return { seeds, predictions: found.map(({ predictions }) => predictions) };
}

/** Scores, recommendation and costs of a method, as `report.json` has them. */
export type MethodSummary = ReturnType<typeof summarize>;

export function summarize(
  method: MethodResults,
  metrics: readonly string[],
  { confidence, margin }: CompareOptions,
) {
  const { results, ranks, seeds, means, others } = method;
  const [first] = results as [Result];
  const role = roleOf(first.provenance);
  return {
    role,
    /** Name of the provenance. */
    method: methodName(first.provenance),
    provenance: first.provenance,
    variant: first.variant,
    /** Scores of trainings that differ only in their seed. A bound has the single rank 0: no adapter. */
    ranks: ranks.map((rank, i) => ({
      rank,
      seeds: seeds[i]!,
      metrics: Object.fromEntries(
        metrics.map((name) => [name, {
          ...sampleOf(valuesAt(results, rank, name)),
          ...others.has(name) && {
            interval: interval(others.get(name)![i]!, confidence),
          },
        }]),
      ),
      /** Of the mean of the main metric, over examples and seeds. */
      interval: interval(means[i]!, confidence),
    })),
    /** Areas under the rank curve of the main metric, divided by the range of the axis. */
    areas: eachAxis((axis) => ({
      value: definedOf(areaUnderCurve(method, axis)),
      interval: interval(areasUnder(method, axis), confidence),
    })),
    recommendation: role === "bound"
      ? null
      : recommend(method, { margin, confidence }),
    /** Precisions of the evaluations' matrix products. */
    evaluatedIn: distinct(results.map(({ precision }) => precision)),
    settings: settingsOf(results),
    /** Tasks whose trained adapters the trainings started from. */
    startedFrom: distinct(
      results.flatMap(({ training }) => training?.start ?? []),
    ),
    /** Splits on which the best epoch was selected. */
    selectedOn: distinct(
      results.flatMap((it) => selectionOf(it)?.split ?? []),
    ),
    cost: costOf(results),
    trainings: trainingsOf(results),
    size: first.size,
  };
}

function sampleOf(values: readonly number[]) {
  return {
    mean: definedOf(mean(values)),
    /** Sample standard deviation over seeds; null for one seed. */
    deviation: definedOf(deviation(values)),
    /** One per seed, in the order of `seeds`. */
    values: values.map(definedOf),
  };
}

/** A number for JSON: null for NaN. */
export function definedOf(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}

/** Interval of the difference of paired replicates. */
export function pairedInterval(
  ours: Float64Array,
  theirs: Float64Array,
  confidence: number,
): [number, number] | null {
  return interval(ours.map((it, r) => it - theirs[r]!), confidence);
}

type TrainedResult = Result & { readonly training: TrainingCost };

function allTrained(
  results: readonly Result[],
): results is readonly TrainedResult[] {
  return results.every(({ training }) => training !== undefined);
}

/** The evaluations that selected the epoch of a result; undefined for the last one. */
function selectionOf({ epoch, training }: Result) {
  return epoch === "best" ? training?.selection : undefined;
}

/**
 * Cost of a method's sweep from measured times and counted operations; null if
 * an adapter was not trained by this pipeline.
 *
 * A sweep has one training per rank of a trained adapter: one for DyLoRA, one
 * per rank for LoRA. A training counts once however often its adapter is
 * evaluated. Costs are means over the seeds, which repeat the sweep.
 */
export type CostSummary = NonNullable<ReturnType<typeof costOf>>;

export function costOf(results: readonly Result[]) {
  if (!allTrained(results)) return null;
  const repeats = [
    ...Map.groupBy(results, ({ training }) => training.rank).values(),
  ].map((group) => [...Map.groupBy(group, ({ seed }) => seed).values()]);
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const perTraining = (cost: (result: TrainedResult) => number) =>
    sum(repeats.map((seeds) => mean(seeds.map(([first]) => cost(first!)))));
  const perEvaluation = (cost: (result: TrainedResult) => number) =>
    sum(repeats.map((seeds) => mean(seeds.map((it) => sum(it.map(cost))))));
  const seconds = {
    trainingSeconds: perTraining(({ training }) => training.seconds),
    selectionSeconds: perTraining((it) => selectionOf(it)?.seconds ?? 0),
    reductionSeconds: perTraining((it) => it.reductionSeconds),
    evaluationSeconds: perEvaluation((it) => it.evaluationSeconds),
  };
  const flops = {
    trainingFlops: perTraining(({ training }) => training.flops),
    selectionFlops: perTraining((it) => selectionOf(it)?.flops ?? 0),
    reductionFlops: perTraining((it) => it.reductionFlops),
    evaluationFlops: perEvaluation((it) => it.evaluationFlops),
  };
  const steps = repeats.flat().map(([first]) => first!.training.stepSeconds);
  return {
    /** Ranks at which the method was evaluated; 0 is no adapter. */
    ranks: ranksOf(results),
    /** Number of trainings. */
    trainings: repeats.length,
    stepSeconds: mean(steps),
    steps: perTraining(({ training }) => training.steps),
    examples: perTraining(({ training }) => training.examples),
    ...seconds,
    /** All of these, one after another. */
    sweepSeconds: sum(Object.values(seconds)),
    machines: distinct(results.flatMap(({ machines }) => machines)),
    ...flops,
    sweepFlops: sum(Object.values(flops)),
  };
}

/** Seconds and losses of each training, one per rank and seed; none if an adapter was not trained by this pipeline. */
function trainingsOf(results: readonly Result[]) {
  if (!allTrained(results)) return [];
  const groups = Map.groupBy(
    results,
    ({ training, seed }) => `${training.rank} ${seed}`,
  );
  return [...groups.values()].map((group) => {
    const [first] = group as [TrainedResult];
    const { stage, seed, training, reductionSeconds } = first;
    const losses = thinned(training.losses);
    return {
      stage,
      /** Rank of the trained adapter; 0 without adapters. */
      rank: training.rank,
      seed,
      trainingSeconds: training.seconds,
      selectionSeconds: selectionOf(first)?.seconds ?? 0,
      reductionSeconds,
      evaluationSeconds: group.reduce(
        (sum, it) => sum + it.evaluationSeconds,
        0,
      ),
      /** Step of each of the losses, of which a long training has means of several. */
      steps: losses.map(({ step }) => step),
      losses: losses.map(({ loss }) => Number(loss.toPrecision(5))),
      /** Main metric after each epoch, mean over its ranks; empty if only the last epoch was kept. */
      epochScores: training.selection?.epochs.map(({ score }) => score) ?? [],
    };
  }).sort((a, b) => a.rank - b.rank || a.seed - b.seed);
}

/** Number of points above which a curve of losses is thinned. */
const MAX_POINTS = 100;

/** Means of groups of consecutive losses of equal size; the last group may be smaller. */
function thinned(losses: TrainingCost["losses"]): TrainingCost["losses"] {
  const size = Math.ceil(losses.length / MAX_POINTS);
  const count = size === 0 ? 0 : Math.ceil(losses.length / size);
  return Array.from({ length: count }, (_, i) => {
    const group = losses.slice(i * size, (i + 1) * size);
    return {
      step: group.at(-1)!.step,
      loss: mean(group.map(({ loss }) => loss)),
    };
  });
}

/** Distinct values of each setting; null if an adapter was not trained by this pipeline. */
function settingsOf(results: readonly Result[]) {
  if (!allTrained(results)) return null;
  const entries = results.flatMap(({ training }) =>
    Object.entries(training.settings)
  );
  return Object.fromEntries(
    [...Map.groupBy(entries, ([name]) => name)].map(([name, found]) => [
      name,
      distinct(found.flatMap(([, value]) => value ?? [])),
    ]),
  );
}

function distinct<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}
