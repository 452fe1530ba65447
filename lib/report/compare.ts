import { methodTraits } from "../engine/schedules/registry.ts";
import { methodKey } from "./methods.ts";
import { mistakesOf } from "./mistakes.ts";
import type { Average, Comparison, Contrast, Report } from "./report.ts";
import type { Result } from "./result.ts";
import { areaUnderCurve, eachAxis, mean } from "./statistics.ts";
import {
  areasOver,
  type CompareOptions,
  definedOf,
  intervalOf,
  methodsOf,
  pairedInterval,
  type ScoreCurve,
  summarize,
} from "./summarize.ts";
import { againstSweep } from "./sweep.ts";
import { verdictOf } from "./verdict_text.ts";

/**
 * Compares scores and costs of trainings on the same task, split and epoch, and
 * averages the comparisons over tasks.
 *
 * @throws {Error} If results that are compared cover different examples or metrics.
 */
export function compare(
  results: readonly Result[],
  options: CompareOptions,
): Pick<Report, "comparisons" | "averages"> {
  const compared = [
    ...Map.groupBy(
      results,
      ({ task, split, epoch }) => JSON.stringify([task, split, epoch]),
    ).values(),
  ].map((group) => compareOne(group, options));
  return {
    comparisons: compared.map(({ comparison }) => comparison),
    averages: averagesOf(compared, options.confidence),
  };
}

/** A method that is compared with others. */
interface Side {
  readonly curve: ScoreCurve;
  readonly summary: Pick<
    Comparison["methods"][number],
    "role" | "method" | "variant"
  >;
}

/** A comparison and the curves behind it. */
interface Compared {
  readonly comparison: Comparison;
  readonly sides: readonly Side[];
}

function compareOne(
  results: readonly Result[],
  options: CompareOptions,
): Compared {
  const [first] = results as [Result];
  const { confidence, margin } = options;
  const metrics = Object.keys(first.ranks[0]!.metrics);
  checkComparable(results, metrics);
  const { methods, constant } = methodsOf(results, metrics[0]!, options);
  const sides = methods.map((curve) => ({
    curve,
    summary: summarize(curve, metrics, options),
  }));
  const { swept, reduced } = pairsOf(sides);
  const contrastOf = ([candidate, baseline]: typeof swept[number]) => ({
    ...differenceOf(sides, candidate, baseline, confidence),
    areas: areaDifferences(candidate.curve, baseline.curve, confidence),
  });
  const verdict = verdictOf(sides, {
    examples: first.labels.length,
    classes: first.classes !== null,
    metric: metrics[0]!,
    constant,
    confidence,
    margin,
  });
  const { method, rank } = verdict?.recommended ??
    { method: 0, rank: methods[0]!.ranks[0]! };
  return {
    sides,
    comparison: {
      task: first.task,
      title: first.title,
      split: first.split,
      epoch: first.epoch,
      examples: first.labels.length,
      metrics,
      majority: majorityOf(first, metrics, options),
      confidence,
      verdict,
      methods: sides.map(({ summary }) => summary),
      contrasts: [
        ...swept.map((pair) => ({
          ...contrastOf(pair),
          ...againstSweep(pair[0].curve, pair[1].curve, options),
        })),
        ...reduced.map((pair) => ({
          ...contrastOf(pair),
          speedUp: null,
          recommended: null,
        })),
      ],
      mistakes: mistakesOf({ method, rank }, methods[method]!.results),
    },
  };
}

/** The paired bootstrap needs the same examples everywhere. */
function checkComparable(
  results: readonly Result[],
  metrics: readonly string[],
): void {
  const [{ task, split, labels }] = results as [Result];
  for (const other of results) {
    const same = other.labels.length === labels.length &&
      Array.from(labels).every((label, i) => label === other.labels[i]);
    if (!same) {
      throw new Error(
        `The scores of "${task}" on "${split}" cover different examples; evaluate all methods on the same data`,
      );
    }
    for (const { rank, metrics: found } of other.ranks) {
      if (String(Object.keys(found)) !== String(metrics)) {
        throw new Error(
          `The scores of "${task}" at rank ${rank} have the metrics "${
            Object.keys(found).join(", ")
          }", others have "${metrics.join(", ")}"`,
        );
      }
    }
  }
}

/** Scores of always predicting the most frequent class, the smallest on a tie. */
function majorityOf(
  { labels, classes }: Result,
  metrics: readonly string[],
  { metric }: CompareOptions,
): Comparison["majority"] {
  if (!classes) return null;
  const counts = Map.groupBy(Array.from(labels), (label) => label);
  const [[label]] = [...counts].sort((a, b) =>
    b[1].length - a[1].length || a[0] - b[0]
  ) as [[number, number[]]];
  const constant = new Float64Array(labels.length).fill(label);
  return Object.fromEntries(
    metrics.map((name) => [name, definedOf(metric(name)(constant, labels))]),
  );
}

type Pair<T> = readonly [candidate: T, baseline: T];

/**
 * Each candidate with each LoRA trained at every rank, and what trained several
 * ranks with each LoRA reduced by SVD, which also serves them after one training.
 */
function pairsOf<T extends Side>(
  sides: readonly T[],
): { readonly swept: Pair<T>[]; readonly reduced: Pair<T>[] } {
  const candidates = sides.filter((it) => it.summary.role === "candidate");
  const baselines = sides.filter((it) => it.summary.role === "baseline");
  const traitsOf = (it: T) => methodTraits(it.summary.method);
  const bySvd = candidates.filter((it) => traitsOf(it).reducedBy === "svd");
  const sources = bySvd.map((it) => traitsOf(it).source);
  const trained = candidates.filter((it) =>
    traitsOf(it).reducedBy === null && !sources.includes(it.summary.method)
  );
  return {
    swept: consistentPairs(candidates, baselines),
    reduced: consistentPairs(trained, bySvd),
  };
}

/** Pairs whose variants do not contradict each other. */
function consistentPairs<T extends Side>(
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

function sharedRanks(ours: ScoreCurve, theirs: ScoreCurve): number[] {
  return ours.ranks.filter((rank) => theirs.ranks.includes(rank));
}

function differenceOf(
  sides: readonly Side[],
  candidate: Side,
  baseline: Side,
  confidence: number,
): Average["contrasts"][number] {
  const [ours, theirs] = [candidate.curve, baseline.curve];
  return {
    candidate: sides.indexOf(candidate),
    baseline: sides.indexOf(baseline),
    ranks: sharedRanks(ours, theirs).map((rank) => {
      const [i, j] = [ours.ranks.indexOf(rank), theirs.ranks.indexOf(rank)];
      return {
        rank,
        difference: definedOf(ours.scores[i]! - theirs.scores[j]!),
        interval: pairedInterval(ours.means[i]!, theirs.means[j]!, confidence),
      };
    }),
  };
}

/** Differences of the areas over the ranks that both curves have. */
function areaDifferences(
  ours: ScoreCurve,
  theirs: ScoreCurve,
  confidence: number,
): Contrast["areas"] {
  const ranks = sharedRanks(ours, theirs);
  if (ranks.length < 2) return null;
  return eachAxis((axis) => {
    const area = ({ ranks: all, scores }: ScoreCurve) =>
      areaUnderCurve({
        ranks,
        scores: ranks.map((rank) => scores[all.indexOf(rank)]!),
      }, axis);
    return {
      difference: definedOf(area(ours) - area(theirs)),
      interval: pairedInterval(
        areasOver(ranks, ours, axis),
        areasOver(ranks, theirs, axis),
        confidence,
      ),
    };
  });
}

/** The name of the metric that is a mean over tasks. */
const MEAN = "mean score";

/**
 * Averages the main metric over tasks, for each split and epoch that several
 * tasks have: the methods that all tasks have, at the ranks that all of them
 * have. MNLI counts with its matched set.
 */
function averagesOf(
  compared: readonly Compared[],
  confidence: number,
): Average[] {
  const groups = Map.groupBy(
    compared.filter(({ comparison }) =>
      !comparison.split.endsWith("_mismatched")
    ),
    ({ comparison: { split, epoch } }) =>
      JSON.stringify([split.replace(/_matched$/, ""), epoch]),
  );
  return [...groups].flatMap(([key, group]) => {
    const sides = group.length < 2 ? [] : averageSides(group);
    if (sides.length === 0) return [];
    const { swept, reduced } = pairsOf(sides);
    const [split, epoch] = JSON.parse(key) as [string, Average["epoch"]];
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
      methods: sides.map(({ summary: { role, method, variant }, curve }) => ({
        role,
        method,
        variant,
        ranks: curve.ranks.map((rank, i) => ({
          rank,
          metrics: { [MEAN]: { mean: definedOf(curve.scores[i]!) } },
          interval: intervalOf(curve.means[i]!, confidence),
        })),
      })),
      contrasts: [...swept, ...reduced].map(([candidate, baseline]) =>
        differenceOf(sides, candidate, baseline, confidence)
      ),
    }];
  });
}

/**
 * Mean curves of the methods that all tasks have. A replicate is the mean of
 * one replicate of each task: the tasks' bootstraps are independent, and within
 * each task methods stay paired.
 */
function averageSides([first, ...others]: readonly Compared[]): Side[] {
  return first!.sides.flatMap(({ curve, summary }): Side[] => {
    const curves = [curve];
    for (const { sides } of others) {
      const same = sides.find((other) =>
        methodKey(other.summary) === methodKey(summary)
      );
      if (same === undefined) return [];
      curves.push(same.curve);
    }
    const ranks = curves.reduce(
      (shared, { ranks }) => shared.filter((rank) => ranks.includes(rank)),
      curve.ranks,
    );
    if (ranks.length === 0) return [];
    const average = ranks.map((rank) => {
      const places = curves.map(({ ranks }) => ranks.indexOf(rank));
      const means = curves.map(({ means }, i) => means[places[i]!]!);
      return {
        score: mean(curves.map(({ scores }, i) => scores[places[i]!]!)),
        means: means[0]!.map((_, r) => mean(means.map((it) => it[r]!))),
      };
    });
    return [{
      summary,
      curve: {
        ranks,
        scores: average.map(({ score }) => score),
        means: average.map(({ means }) => means),
      },
    }];
  });
}
