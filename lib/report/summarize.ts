import { methodName, roleOf } from "../engine/schedules/registry.ts";
import type { Scorer } from "../problems/problem.ts";
import { signOf } from "../problems/registry.ts";
import type { TextBaseline } from "../problems/writing.ts";
import { methodKey, ranksOf } from "./methods.ts";
import { repeatedRow, viewOf } from "./problem_views.ts";
import type {
  CostSummary,
  Interval,
  MethodSummary,
  SampleScore,
  ScoreSummary,
  TrainingSummary,
} from "./report.ts";
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
  type ScoreCurve,
  scoreInterval,
  type Trainings,
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
export interface MethodResults extends ScoreCurve {
  /** By seed, ascending. */
  readonly results: readonly Result[];
  /** Seeds by rank. */
  readonly seeds: readonly (readonly number[])[];
  /**
   * Replicates of other metrics, `[ranks][replicates]`, where they have any.
   */
  readonly others: ReadonlyMap<string, readonly Float64Array[]>;
}

/** Score, in the main metric, of the best predictions without a training. */
export interface Constant {
  /** What they are: `always predicting the same class`. */
  readonly name: string;
  readonly score: number;
  /** Its bootstrap replicates. */
  readonly means: Float64Array;
}

/**
 * Groups results by method, and bootstraps the main metric, the first, of all
 * methods at once, so that their replicates are paired, also with those of the
 * best predictions without a training: a constant one, or copied or frequent
 * texts. Their score is taken as 0 if the problem has none.
 *
 * @throws {Error} If a method has two results for the same rank and seed.
 */
export function methodsOf(
  results: readonly Result[],
  [main, ...others]: readonly [string, ...string[]],
  { replicates, draw }: CompareOptions,
): {
  readonly methods: readonly MethodResults[];
  /** Undefined for a loss, which has no chance baseline. */
  readonly constant: Constant | undefined;
} {
  const [result] = results as [Result];
  const { labels, problem } = result;
  const view = viewOf(problem);
  const sign = signOf(main);
  const units = problem.units(labels);
  const scorer = problem.scorer(main, labels);
  const replicatesOf = (
    trainings: readonly Trainings[],
    by: Scorer,
    count = replicates,
  ): Float64Array[] => bootstrap(trainings, labels, by, count, draw, units);
  const groups = [...Map.groupBy(results, methodKey).values()]
    .map((group) => group.toSorted((a, b) => a.seed - b.seed));
  const trainings = groups.map((group) =>
    ranksOf(group).map((rank) => trainingsAt(group, rank))
  );
  const best = bestConstant(result, scorer);
  // One bootstrap for all, so that their replicates are paired.
  const means = replicatesOf([
    ...trainings.flat(),
    ...(best === undefined
      ? []
      : [{ seeds: [], predictions: [best.predictions] }]),
  ], scorer);
  let start = 0;
  const methods = groups.map((group, i): MethodResults => {
    const ownTrainings = trainings[i]!;
    const ranks = ranksOf(group);
    const ownMeans = means.slice(start, start + ranks.length);
    start += ranks.length;
    const redrawn = new Map<string, Float64Array[]>();
    const otherMeans = view.isSummed
      ? others.map((name) =>
        [
          name,
          replicatesOf(ownTrainings, problem.scorer(name, labels)),
        ] as const
      )
      : [];
    return {
      results: group,
      sign,
      ranks,
      scores: ranks.map((rank) => mean(valuesAt(group, rank, main))),
      seeds: ownTrainings.map(({ seeds }) => seeds),
      means: ownMeans,
      redraw: (at, count) =>
        redrawn.getOrInsertComputed(`${at} x ${count}`, () =>
          replicatesOf(
            at.map((rank) => ownTrainings[ranks.indexOf(rank)]!),
            scorer,
            count,
          )),
      others: new Map(otherMeans),
    };
  });
  if (sign < 0) return { methods, constant: undefined };
  const constant: Constant = {
    name: best?.name ?? view.constants(result).name,
    score: best === undefined ? 0 : scorer()(best.predictions),
    means: means[start] ?? new Float64Array(replicates),
  };
  return { methods, constant };
}

/**
 * The predictions without a training with the highest score, the first on a
 * tie: of constants the smallest; undefined if the problem has none.
 */
function bestConstant(
  result: Result,
  scorer: Scorer,
): TextBaseline | undefined {
  const { labels, problem, baselines = [] } = result;
  const score = scorer();
  const { name, rows } = viewOf(problem).constants(result);
  const constants = rows.toSorted(([a], [b]) => a! - b!).map((row) => ({
    name,
    predictions: repeatedRow(row, labels.length / problem.width),
  }));
  const choices = [...constants, ...baselines];
  const scores = choices.map(({ predictions }) => score(predictions));
  return choices[scores.indexOf(Math.max(...scores))];
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

function trainingsAt(results: readonly Result[], rank: number): Trainings {
  const scored = resultsAt(results, rank);
  const seeds = scored.map(({ seed }) => seed);
  if (new Set(seeds).size !== seeds.length) {
    const [{ task, provenance }] = results as [Result];
    const method = methodName(provenance);
    throw new Error(
      `Rank ${rank} of "${method}" on "${task}" is evaluated twice for one seed (${
        seeds.join(", ")
      }), and nothing in the settings of its trainings tells them apart`,
    );
  }
  return { seeds, predictions: scored.map(({ predictions }) => predictions) };
}

/** Scores, recommendation and costs of a method, as `report.json` has them. */
export function summarize(
  method: MethodResults,
  metrics: readonly string[],
  { confidence, margin }: Pick<CompareOptions, "confidence" | "margin">,
): MethodSummary {
  const { results, ranks, seeds, scores, means } = method;
  const [first] = results as [Result];
  const [main] = metrics as [string];
  const { problem, labels } = first;
  const intervals = { confidence, examples: problem.units(labels) };
  const role = roleOf(first.provenance);
  return {
    role,
    method: methodName(first.provenance),
    provenance: first.provenance,
    variant: first.variant,
    ranks: ranks.map((rank, i): ScoreSummary => ({
      rank,
      seeds: seeds[i]!,
      metrics: Object.fromEntries(
        metrics.map((name) => [name, sampleAt(method, i, name, intervals)]),
      ),
      interval: scoreInterval(main, scores[i]!, means[i]!, intervals),
    })),
    areas: eachAxis((axis) => {
      const area = areaUnderCurve(method, axis);
      const replicates = areasUnder(method, axis);
      return {
        value: definedOf(area),
        interval: scoreInterval(main, area, replicates, intervals),
      };
    }),
    recommendation: role === "bound"
      ? null
      : recommend(method, { margin, confidence }),
    evaluatedIn: distinct(results.map(({ precision }) => precision)),
    settings: settingsOf(results),
    startedFrom: distinct(
      results.flatMap(({ training }) => training?.start ?? []),
    ),
    selectedOn: distinct(
      results.flatMap((it) => selectionOf(it)?.split ?? []),
    ),
    cost: costOf(results),
    trainings: trainingsOf(results),
    size: first.size,
  };
}

/** A metric at one of the ranks of a method, over its seeds. */
function sampleAt(
  { results, ranks, others }: MethodResults,
  i: number,
  metric: string,
  intervals: { readonly confidence: number; readonly examples: number },
): SampleScore {
  const values = valuesAt(results, ranks[i]!, metric);
  const score = mean(values);
  const sample: SampleScore = {
    mean: definedOf(score),
    deviation: definedOf(deviation(values)),
    values: values.map(definedOf),
  };
  const replicates = others.get(metric)?.[i];
  if (replicates === undefined) return sample;
  const interval = scoreInterval(metric, score, replicates, intervals);
  return { ...sample, interval };
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
): Interval | null {
  return interval(ours.map((it, r) => it - theirs[r]!), confidence);
}

type TrainedResult = Result & { readonly training: TrainingCost };

function allTrained(
  results: readonly Result[],
): results is readonly TrainedResult[] {
  return results.every(({ training }) => training !== undefined);
}

/**
 * The evaluations that selected the epoch of a result; undefined for the last
 * one.
 */
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
export function costOf(results: readonly Result[]): CostSummary | null {
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
    ranks: ranksOf(results),
    trainings: repeats.length,
    stepSeconds: mean(steps),
    steps: perTraining(({ training }) => training.steps),
    examples: perTraining(({ training }) => training.examples),
    ...seconds,
    sweepSeconds: sum(Object.values(seconds)),
    machines: distinct(results.flatMap(({ machines }) => machines)),
    ...flops,
    sweepFlops: sum(Object.values(flops)),
  };
}

/**
 * Seconds and losses of each training, one per rank and seed; none if an
 * adapter was not trained by this pipeline.
 */
function trainingsOf(results: readonly Result[]): TrainingSummary[] {
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
      rank: training.rank,
      seed,
      trainingSeconds: training.seconds,
      selectionSeconds: selectionOf(first)?.seconds ?? 0,
      reductionSeconds,
      evaluationSeconds: group.reduce(
        (sum, it) => sum + it.evaluationSeconds,
        0,
      ),
      steps: losses.map(({ step }) => step),
      losses: losses.map(({ loss }) => Number(loss.toPrecision(5))),
      epochScores: training.selection?.epochs.map(({ score }) => score) ?? [],
    };
  }).sort((a, b) => a.rank - b.rank || a.seed - b.seed);
}

/** Number of points above which a curve of losses is thinned. */
const MAX_POINTS = 100;

/**
 * Means of groups of consecutive losses of equal size; the last group may be
 * smaller.
 */
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

/**
 * Distinct values of each setting; null if an adapter was not trained by this
 * pipeline.
 */
function settingsOf(results: readonly Result[]): MethodSummary["settings"] {
  if (!allTrained(results)) return null;
  const entries = results.flatMap(({ training }) =>
    Object.entries(training.settings)
  );
  return Object.fromEntries(
    [...Map.groupBy(entries, ([name]) => name)].map(([name, group]) => [
      name,
      distinct(group.flatMap(([, value]) => value ?? [])),
    ]),
  );
}

function distinct<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}
