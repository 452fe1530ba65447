import { methodName } from "../engine/schedules/registry.ts";
import { count } from "../problems/problem.ts";
import { formatOf, isShare, metricInWords, withInterval } from "./format.ts";
import { methodKey } from "./methods.ts";
import { mistakesOf } from "./mistakes.ts";
import { repeatedRow, viewOf } from "./problem_views.ts";
import type {
  Average,
  Comparison,
  Contrast,
  MeanSummary,
  RankContrast,
  RecommendedContrast,
  Report,
  SpeedUp,
  Verdict,
} from "./report.ts";
import type { Result } from "./result.ts";
import {
  areasUnder,
  areaUnderCurve,
  curveAt,
  eachAxis,
  interval,
  mean,
  recommend,
  type ScoreCurve,
} from "./statistics.ts";
import {
  type CompareOptions,
  costOf,
  definedOf,
  type MethodResults,
  methodsOf,
  pairedInterval,
  resultsAt,
  summarize,
} from "./summarize.ts";
import { type Side, verdictOf } from "./verdict.ts";

/**
 * Compares scores and costs of trainings on the same task, split and epoch, and
 * averages the comparisons over tasks.
 *
 * @throws {Error} If results that are compared cover different examples or
 * metrics.
 */
export function compare(
  results: readonly Result[],
  options: CompareOptions,
): Pick<Report, "comparisons" | "averages"> {
  const groups = Map.groupBy(
    results,
    ({ task, split, epoch }) => JSON.stringify([task, split, epoch]),
  );
  const compared = [...groups.values()]
    .map((group) => compareOne(group, options));
  return {
    comparisons: compared.map(({ comparison }) => comparison),
    averages: averagesOf(compared, options.confidence),
  };
}

/** A comparison and the curves behind it. */
interface Compared {
  readonly sides: readonly Side[];
  readonly comparison: Comparison;
}

function compareOne(
  results: readonly Result[],
  options: CompareOptions,
): Compared {
  const [first] = results as [Result];
  const { confidence, margin } = options;
  const metrics = Object.keys(first.ranks[0]!.metrics);
  const examples = first.problem.units(first.labels);
  checkComparable(results, metrics);
  const { methods, constant } = methodsOf(
    results,
    metrics as [string],
    options,
  );
  const sides = methods.map((curve) => ({
    curve,
    summary: summarize(curve, metrics, options),
  }));
  const contrasts = pairsOf(sides).map(([candidate, baseline]): Contrast => {
    const isSwept = baseline.summary.role === "baseline" &&
      candidate.summary.role === "candidate";
    return {
      ...differenceOf(sides, [candidate, baseline], confidence),
      speedUp: isSwept ? speedUp(candidate.curve, baseline.curve) : null,
      recommended: isSwept
        ? bothRecommended(candidate.curve, baseline.curve, options)
        : null,
    };
  });
  const verdict = verdictOf(sides, {
    split: first.split,
    examples,
    classes: first.problem.classes.length > 0,
    metric: metrics[0]!,
    constant,
    confidence,
    margin,
  });
  const { method, rank } = verdict?.recommended ??
    { method: 0, rank: methods[0]!.ranks[0]! };
  const threshold = thresholdOf(
    results,
    metrics[0]!,
    methods[method]!.results,
    rank,
  );
  return {
    sides,
    comparison: {
      task: first.task,
      title: first.title,
      split: first.split,
      epoch: first.epoch,
      examples,
      metrics,
      majority: majorityOf(first, metrics),
      ...threshold && { threshold },
      confidence,
      verdict: verdict && withThreshold(
        withHeads(verdict, sides, contrasts, metrics[0]!),
        threshold,
        metrics[0]!,
      ),
      methods: sides.map(({ summary }) => summary),
      contrasts,
      mistakes: mistakesOf({ method, rank }, methods[method]!.results),
    },
  };
}

/**
 * Checks that all results cover the same examples, which the paired bootstrap
 * requires, and have the same metrics.
 */
function checkComparable(
  results: readonly Result[],
  metrics: readonly string[],
): void {
  const [{ task, split, labels }] = results as [Result];
  const expected = metrics.join(", ");
  for (const { ranks, ...other } of results) {
    const different = ranks.map((it) => Object.keys(it.metrics).join(", "))
      .find((it) => it !== expected);
    if (different !== undefined) {
      throw new Error(
        `Scores of "${task}" on "${split}" have the metrics "${different}", others have "${expected}": connect them to reports of their own`,
      );
    }
    if (String(other.labels) === String(labels)) continue;
    throw new Error(
      `The scores of "${task}" on "${split}" cover different examples; evaluate all methods on the same data`,
    );
  }
}

/**
 * Scores of always predicting the most frequent label, the smallest on a tie;
 * null without such constants.
 */
function majorityOf(
  result: Result,
  metrics: readonly string[],
): Comparison["majority"] {
  const { labels, problem } = result;
  const [row] = viewOf(problem).constants(result).rows;
  if (row === undefined) return null;
  const constant = repeatedRow(row, labels.length / problem.width);
  return Object.fromEntries(
    metrics.map((name) => [
      name,
      definedOf(problem.scorer(name, labels)()(constant)),
    ]),
  );
}

/**
 * The thresholds by which results are predicted; undefined if they are by none.
 *
 * @param shown Results of the method for which the best one is given, at `rank`
 */
function thresholdOf(
  results: readonly Result[],
  metric: string,
  shown: readonly Result[],
  rank: number,
): Comparison["threshold"] {
  const { problem, labels } = results[0]!;
  if (problem.bestThreshold === undefined) return undefined;
  const values = results.flatMap(({ problem }) => problem.threshold ?? []);
  const predictions = shown.flatMap((result) => resultsAt([result], rank))
    .map((it) => it.predictions);
  const texts = predictions.length * labels.length / problem.width;
  let predicted = 0;
  for (const result of shown) {
    const { threshold } = result.problem;
    for (const { predictions } of resultsAt([result], rank)) {
      predicted += count(predictions, (it) => it >= threshold!);
    }
  }
  return {
    values: [...new Set(values)].sort((a, b) => a - b),
    isBest: results.some((it) => it.isBestThreshold),
    labelsPerText: predicted / texts,
    best: problem.bestThreshold(metric, predictions, labels),
  };
}

/**
 * A verdict that says which threshold to set, where by the one that was used no
 * text is predicted any label.
 */
function withThreshold(
  verdict: Verdict,
  threshold: Comparison["threshold"],
  metric: string,
): Verdict {
  if (threshold === undefined || threshold.labelsPerText > 0) return verdict;
  const { values, best } = threshold;
  const { inWords } = formatOf(metric);
  const advice =
    `No text is predicted any label, since no probability reaches ${
      values.join(" or ")
    }: from ${best.value} on, the ${metricInWords(metric)} is ${
      inWords(best.score)
    } on the held-out rows. Set -S threshold=${best.value}, or take the best one by -S threshold=best.`;
  return { ...verdict, reasons: [advice, ...verdict.reasons] };
}

/**
 * A method that is compared with others, of one task or of a mean over tasks.
 */
interface CurveOf {
  readonly curve: ScoreCurve;
  readonly summary: Omit<MeanSummary, "ranks">;
}

type Pair<T> = readonly [candidate: T, baseline: T];

/**
 * Pairs of methods to compare: each candidate with each LoRA trained at every
 * rank; each training of several ranks with each LoRA reduced by SVD, which
 * also serves them after one training; each method with fitted heads with the
 * same method and its trained head. Pairs whose variants contradict each other
 * are left out.
 */
function pairsOf<T extends CurveOf>(sides: readonly T[]): Pair<T>[] {
  const candidates = sides.filter((it) => it.summary.role === "candidate");
  const baselines = sides.filter((it) => it.summary.role === "baseline");
  const of = (it: T) => it.summary.provenance;
  const plain = candidates.filter((it) => of(it).heads === "trained");
  const all = [...candidates, ...baselines];
  const fitted = all.filter((it) => of(it).heads === "fitted");
  const bySvd = plain.filter((it) => of(it).reducedBy === "svd");
  const trained = plain.filter((it) =>
    of(it).reducedBy === null &&
    !bySvd.some((other) =>
      of(other).trained === of(it).trained &&
      of(other).imported === of(it).imported
    )
  );
  return [
    ...consistentPairs(candidates, baselines),
    ...consistentPairs(trained, bySvd),
    ...consistentPairs(fitted, all).filter(([it, other]) =>
      methodName(of(other)) === methodName({ ...of(it), heads: "trained" })
    ),
  ];
}

/**
 * Adds to a verdict what a head for each rank gains, at the lowest and the
 * recommended rank, if the method was scored without such heads too.
 */
function withHeads(
  verdict: Verdict,
  sides: readonly CurveOf[],
  contrasts: readonly RankContrast[],
  metric: string,
): Verdict {
  if (verdict.kind === "nothing-learnt") return verdict;
  const { method, rank } = verdict.recommended;
  const { signed } = formatOf(metric);
  const { provenance, variant } = sides[method]!.summary;
  const withTrainedHead = methodKey({
    provenance: { ...provenance, heads: "trained" },
    variant,
  });
  const sentences = contrasts.filter(({ candidate, baseline }) =>
    candidate === method &&
    methodKey(sides[baseline]!.summary) === withTrainedHead
  ).map(({ ranks }) => {
    const shown = ranks.filter((it, i) => i === 0 || it.rank === rank)
      .map(({ rank, difference, interval }) =>
        `${withInterval(difference, interval, signed)} at rank ${rank}`
      );
    return `A head for each rank brings ${shown.join(" and ")}.`;
  });
  return { ...verdict, reasons: [...verdict.reasons, ...sentences] };
}

/** Pairs whose variants do not contradict each other. */
function consistentPairs<T extends CurveOf>(
  candidates: readonly T[],
  baselines: readonly T[],
): Pair<T>[] {
  return candidates.flatMap((candidate) =>
    baselines
      .filter(({ summary: { variant } }) =>
        Object.entries(candidate.summary.variant).every(([key, value]) =>
          !Object.hasOwn(variant, key) || variant[key] === value
        )
      )
      .map((baseline) => [candidate, baseline] as const)
  );
}

/**
 * The metric of a candidate minus that of a baseline, at the ranks that both
 * have, and in the areas over these if there are several.
 */
function differenceOf<T extends CurveOf>(
  sides: readonly T[],
  [candidate, baseline]: Pair<T>,
  confidence: number,
): RankContrast & Pick<Contrast, "areas"> {
  const ranks = sharedRanks([candidate, baseline]);
  const pairedWith = (a: Float64Array, b: Float64Array) =>
    pairedInterval(a, b, confidence);
  const ours = curveAt(candidate.curve, ranks);
  const theirs = curveAt(baseline.curve, ranks);
  return {
    candidate: sides.indexOf(candidate),
    baseline: sides.indexOf(baseline),
    ranks: ranks.map((rank, i) => ({
      rank,
      difference: definedOf(ours.scores[i]! - theirs.scores[i]!),
      interval: pairedWith(ours.means[i]!, theirs.means[i]!),
    })),
    areas: ranks.length < 2 ? null : eachAxis((axis) => ({
      difference: definedOf(
        areaUnderCurve(ours, axis) - areaUnderCurve(theirs, axis),
      ),
      interval: pairedWith(areasUnder(ours, axis), areasUnder(theirs, axis)),
    })),
  };
}

/**
 * Cost of a baseline's sweep over its ranks within the candidate's range,
 * divided by the cost of the candidate's whole sweep; null if there are no such
 * ranks, or if either was not trained by this pipeline.
 */
function speedUp(
  candidate: MethodResults,
  baseline: MethodResults,
): SpeedUp | null {
  const within = baseline.results.filter(({ ranks }) =>
    ranks.every(({ rank }) => isWithin(candidate, rank))
  );
  const ours = costOf(candidate.results);
  const theirs = within.length === 0 ? null : costOf(within);
  if (ours === null || theirs === null) return null;
  const machines = new Set([...ours.machines, ...theirs.machines]);
  const isOne = machines.size <= 1;
  return {
    ranks: theirs.ranks,
    training: isOne ? theirs.trainingSeconds / ours.trainingSeconds : null,
    sweep: isOne ? theirs.sweepSeconds / ours.sweepSeconds : null,
    examples: theirs.examples / ours.examples,
    trainingFlops: theirs.trainingFlops / ours.trainingFlops,
    sweepFlops: theirs.sweepFlops / ours.sweepFlops,
  };
}

/**
 * The ranks recommended for a candidate and by a baseline's sweep over its
 * range, and the loss of the candidate; null if either has fewer than two such
 * ranks, or an undefined score.
 */
function bothRecommended(
  candidate: ScoreCurve,
  baseline: ScoreCurve,
  options: CompareOptions,
): RecommendedContrast | null {
  const within = baseline.ranks.filter((rank) => isWithin(candidate, rank));
  if (candidate.ranks.length < 2 || within.length < 2) return null;
  const ours = atRecommended(candidate, options);
  const theirs = atRecommended(curveAt(baseline, within), options);
  if (ours === null || theirs === null) return null;
  const means = ours.means[0]!;
  const baselineMeans = theirs.means[0]!;
  return {
    candidate: ours.ranks[0]!,
    baseline: theirs.ranks[0]!,
    difference: ours.scores[0]! - theirs.scores[0]!,
    interval: pairedInterval(means, baselineMeans, options.confidence),
  };
}

/** A curve at its recommended rank alone; null if a score is undefined. */
function atRecommended(
  curve: ScoreCurve,
  options: CompareOptions,
): ScoreCurve | null {
  const recommendation = recommend(curve, options);
  return recommendation && curveAt(curve, [recommendation.rank]);
}

/** Whether a rank is in the range of a curve. */
function isWithin({ ranks }: ScoreCurve, rank: number): boolean {
  return rank >= ranks[0]! && rank <= ranks.at(-1)!;
}

/** The ranks that all sides have. */
function sharedRanks([first, ...others]: readonly CurveOf[]): number[] {
  return first!.curve.ranks.filter((rank) =>
    others.every(({ curve }) => curve.ranks.includes(rank))
  );
}

/** The name of the metric that is a mean over tasks. */
const MEAN = "mean score";

/**
 * Averages the main metric over tasks, for each split and epoch that several
 * tasks have: the methods that all tasks have, at the ranks that all of them
 * have. MNLI counts with its matched set; losses, which are no shares, do not.
 */
function averagesOf(
  compared: readonly Compared[],
  confidence: number,
): Average[] {
  const groups = Map.groupBy(
    compared.filter(({ comparison: { split, metrics } }) =>
      !split.endsWith("_mismatched") && isShare(metrics[0]!)
    ),
    ({ comparison: { split, epoch } }) =>
      JSON.stringify([split.replace(/_matched$/, ""), epoch]),
  );
  return [...groups.values()].flatMap((group) => {
    const sides = group.length < 2 ? [] : averageSides(group);
    if (sides.length === 0) return [];
    const [{ comparison: { split, epoch } }] = group as [Compared];
    return [{
      task: `mean-of-${group.length}`,
      title: `Mean over ${group.length} tasks`,
      split: split.replace(/_matched$/, ""),
      epoch,
      metrics: [MEAN],
      tasks: group.map(({ comparison: { task, title, metrics } }) => ({
        task,
        title,
        metric: metrics[0]!,
      })),
      confidence,
      methods: sides.map((side) => meanSummary(side, confidence)),
      contrasts: pairsOf(sides).map((pair): RankContrast => {
        const { candidate, baseline, ranks } = differenceOf(
          sides,
          pair,
          confidence,
        );
        return { candidate, baseline, ranks };
      }),
    }];
  });
}

function meanSummary(
  { summary, curve }: CurveOf,
  confidence: number,
): MeanSummary {
  return {
    role: summary.role,
    method: summary.method,
    provenance: summary.provenance,
    variant: summary.variant,
    ranks: curve.ranks.map((rank, i) => ({
      rank,
      metrics: { [MEAN]: { mean: definedOf(curve.scores[i]!) } },
      interval: interval(curve.means[i]!, confidence),
    })),
  };
}

/**
 * Mean curves of the methods that all tasks have. A replicate is the mean of
 * one replicate of each task: the tasks' bootstraps are independent, and within
 * each task methods stay paired.
 */
function averageSides([first, ...others]: readonly Compared[]): CurveOf[] {
  return first!.sides.flatMap((side): CurveOf[] => {
    const { summary } = side;
    const same = others.flatMap(({ sides }) =>
      sides.find((other) => methodKey(other.summary) === methodKey(summary)) ??
        []
    );
    const ranks = sharedRanks([side, ...same]);
    if (same.length < others.length || ranks.length === 0) return [];
    const curves = [side, ...same].map(({ curve }) => curveAt(curve, ranks));
    return [{
      summary,
      curve: {
        sign: 1,
        ranks,
        scores: ranks.map((_, i) => mean(curves.map((it) => it.scores[i]!))),
        means: curves[0]!.means.map((means, i) =>
          means.map((_, r) => mean(curves.map((it) => it.means[i]![r]!)))
        ),
      },
    }];
  });
}
