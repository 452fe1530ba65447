import { methodName } from "../engine/schedules/registry.ts";
import { isShare } from "../problems/registry.ts";
import { formatOf, withInterval } from "./format.ts";
import { methodKey } from "./methods.ts";
import { mistakesOf } from "./mistakes.ts";
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
  summarize,
} from "./summarize.ts";
import { type Side, verdictOf } from "./verdict.ts";

/**
 * Compares scores and costs of trainings on the same task, split and epoch, and
 * averages the comparisons over tasks.
 *
 * @throws {Error} If results that are compared cover different examples or metrics.
 */
export function compare(results: readonly Result[], options: CompareOptions) {
  const compared = [
    ...Map.groupBy(
      results,
      ({ task, split, epoch }) => JSON.stringify([task, split, epoch]),
    ).values(),
  ].map((group) => compareOne(group, options));
  return {
    /** One per task, split and epoch. */
    comparisons: compared.map(({ comparison }) => comparison),
    /** One per split and epoch that several tasks have. */
    averages: averagesOf(compared, options.confidence),
  };
}

/** A comparison and the curves behind it. */
type Compared = ReturnType<typeof compareOne>;

function compareOne(results: readonly Result[], options: CompareOptions) {
  const [first] = results as [Result];
  const { confidence, margin } = options;
  const metrics = Object.keys(first.ranks[0]!.metrics);
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
  const verdict = verdictOf(sides, {
    examples: first.problem.units(first.labels),
    classes: first.problem.classes.length > 0,
    metric: metrics[0]!,
    constant,
    confidence,
    margin,
  });
  const { method, rank } = verdict?.recommended ??
    { method: 0, rank: methods[0]!.ranks[0]! };
  const contrasts = pairsOf(sides).map((pair) => {
    const [{ curve, summary }, baseline] = pair;
    const isSwept = baseline.summary.role === "baseline" &&
      summary.role === "candidate";
    return {
      ...differenceOf(sides, pair, confidence),
      speedUp: isSwept ? speedUp(curve, baseline.curve) : null,
      recommended: isSwept
        ? bothRecommended(curve, baseline.curve, options)
        : null,
    };
  });
  return {
    sides,
    comparison: {
      task: first.task,
      /** Display name of the task: `SST-2`. */
      title: first.title,
      split: first.split,
      epoch: first.epoch,
      examples: first.problem.units(first.labels),
      /** Names of the metrics, the main metric first. */
      metrics,
      majority: majorityOf(first, metrics),
      confidence,
      /** Null if there is no adapter, or its score is undefined. */
      verdict: verdict && {
        ...verdict,
        reasons: [
          ...verdict.reasons,
          ...verdict.kind === "nothing-learnt"
            ? []
            : headsText(verdict.recommended, sides, contrasts, metrics[0]!),
        ],
      },
      methods: sides.map(({ summary }) => summary),
      contrasts,
      /** Of the verdict's method at its recommended rank; without a verdict, of the first method at its lowest rank. */
      mistakes: mistakesOf({ method, rank }, methods[method]!.results),
    },
  };
}

/** The paired bootstrap needs the same examples everywhere, and a comparison the same metrics. */
function checkComparable(
  results: readonly Result[],
  metrics: readonly string[],
): void {
  const [{ task, split, labels }] = results as [Result];
  const expected = metrics.join(", ");
  for (const { ranks, ...other } of results) {
    const found = ranks.map((it) => Object.keys(it.metrics).join(", "))
      .find((it) => it !== expected);
    if (found !== undefined) {
      throw new Error(
        `Scores of "${task}" on "${split}" have the metrics "${found}", others have "${expected}": connect them to reports of their own`,
      );
    }
    if (String(other.labels) === String(labels)) continue;
    throw new Error(
      `The scores of "${task}" on "${split}" cover different examples; evaluate all methods on the same data`,
    );
  }
}

/** Scores of always predicting the most frequent class, the smallest on a tie; null without classes. */
function majorityOf({ labels, problem }: Result, metrics: readonly string[]) {
  const [label] = problem.constants(labels);
  if (label === undefined) return null;
  const constant = new Float64Array(labels.length).fill(label);
  return Object.fromEntries(
    metrics.map((name) => [
      name,
      definedOf(problem.scorer(name, labels)()(constant)),
    ]),
  );
}

/** A method that is compared with others, of one task or of a mean over tasks. */
interface CurveOf {
  readonly curve: ScoreCurve;
  readonly summary: Pick<
    Side["summary"],
    "role" | "method" | "provenance" | "variant"
  >;
}

type Pair<T> = readonly [candidate: T, baseline: T];

/**
 * Each candidate with each LoRA trained at every rank; what trained several
 * ranks with each LoRA reduced by SVD, which also serves them after one
 * training; and what has fitted heads with the same with the trained one. Only
 * where the variants do not contradict each other.
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

/** What a head for each rank brings to the method of a verdict, at its lowest and at the recommended rank, if it was scored without as well. */
function headsText(
  { method, rank }: { readonly method: number; readonly rank: number },
  sides: readonly CurveOf[],
  contrasts: readonly ReturnType<typeof differenceOf>[],
  metric: string,
): string[] {
  const { signed } = formatOf(metric);
  const { provenance, variant } = sides[method]!.summary;
  const plain = methodKey({
    provenance: { ...provenance, heads: "trained" },
    variant,
  });
  return contrasts.filter(({ candidate, baseline }) =>
    candidate === method && methodKey(sides[baseline]!.summary) === plain
  ).map(({ ranks }) => {
    const shown = ranks.filter((it, i) => i === 0 || it.rank === rank)
      .map(({ rank, difference, interval }) =>
        `${withInterval(difference, interval, signed)} at rank ${rank}`
      );
    return `A head for each rank brings ${shown.join(" and ")}.`;
  });
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

/** The metric of a candidate minus that of a baseline, at the ranks that both have, and in the areas over these if there are several. */
function differenceOf<T extends CurveOf>(
  sides: readonly T[],
  [candidate, baseline]: Pair<T>,
  confidence: number,
) {
  const ranks = sharedRanks([candidate, baseline]);
  const pairedWith = (a: Float64Array, b: Float64Array) =>
    pairedInterval(a, b, confidence);
  const ours = curveAt(candidate.curve, ranks);
  const theirs = curveAt(baseline.curve, ranks);
  return {
    /** Positions in `methods`. */
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
function speedUp(candidate: MethodResults, baseline: MethodResults) {
  const within = baseline.results.filter(({ ranks }) =>
    ranks.every(({ rank }) => isWithin(candidate, rank))
  );
  const ours = costOf(candidate.results);
  const theirs = within.length === 0 ? null : costOf(within);
  if (ours === null || theirs === null) return null;
  const machines = new Set([...ours.machines, ...theirs.machines]);
  const isOne = machines.size <= 1;
  return {
    /** Ranks of the baseline that are counted. */
    ranks: theirs.ranks,
    /** Of seconds; null if several machines computed. */
    training: isOne ? theirs.trainingSeconds / ours.trainingSeconds : null,
    sweep: isOne ? theirs.sweepSeconds / ours.sweepSeconds : null,
    examples: theirs.examples / ours.examples,
    trainingFlops: theirs.trainingFlops / ours.trainingFlops,
    sweepFlops: theirs.sweepFlops / ours.sweepFlops,
  };
}

/** The ranks recommended for a candidate and by a baseline's sweep over its range, and what the first loses; null if either has fewer than two such ranks, or an undefined score. */
function bothRecommended(
  candidate: ScoreCurve,
  baseline: ScoreCurve,
  options: CompareOptions,
) {
  const within = baseline.ranks.filter((rank) => isWithin(candidate, rank));
  if (candidate.ranks.length < 2 || within.length < 2) return null;
  const [ours, theirs] = [candidate, curveAt(baseline, within)].map((curve) => {
    const found = recommend(curve, options);
    return found && curveAt(curve, [found.rank]);
  });
  if (!ours || !theirs) return null;
  const [means, others] = [ours.means[0]!, theirs.means[0]!];
  return {
    candidate: ours.ranks[0]!,
    baseline: theirs.ranks[0]!,
    difference: ours.scores[0]! - theirs.scores[0]!,
    interval: pairedInterval(means, others, options.confidence),
  };
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
function averagesOf(compared: readonly Compared[], confidence: number) {
  const groups = Map.groupBy(
    compared.filter(({ comparison: { split, metrics } }) =>
      !split.endsWith("_mismatched") && isShare(metrics[0]!)
    ),
    ({ comparison: { split, epoch } }) =>
      JSON.stringify([split.replace(/_matched$/, ""), epoch]),
  );
  return [...groups].flatMap(([key, group]) => {
    const sides = group.length < 2 ? [] : averageSides(group);
    if (sides.length === 0) return [];
    const [split, epoch] = JSON.parse(key) as [string, Result["epoch"]];
    return [{
      task: `mean-of-${group.length}`,
      title: `Mean over ${group.length} tasks`,
      split,
      epoch,
      metrics: [MEAN],
      tasks: group.map(({ comparison: { task, title, metrics } }) => ({
        task,
        title,
        metric: metrics[0]!,
      })),
      confidence,
      methods: sides.map(({ summary, curve }) => ({
        role: summary.role,
        method: summary.method,
        provenance: summary.provenance,
        variant: summary.variant,
        ranks: curve.ranks.map((rank, i) => ({
          rank,
          metrics: { [MEAN as string]: { mean: definedOf(curve.scores[i]!) } },
          interval: interval(curve.means[i]!, confidence),
        })),
      })),
      contrasts: pairsOf(sides).map((pair) => {
        const { areas: _, ...contrast } = differenceOf(sides, pair, confidence);
        return contrast;
      }),
    }];
  });
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
