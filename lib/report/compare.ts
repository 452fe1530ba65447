import { methodKey, methodOf } from "./methods.ts";
import type { Average, Comparison, Contrast, Report } from "./report.ts";
import type { Result } from "./result.ts";
import { areaUnderCurve, mean, recommend } from "./statistics.ts";
import {
  areasOver,
  type CompareOptions,
  costOf,
  definedOf,
  intervalOf,
  type MethodResults,
  methodsOf,
  type ScoreCurve,
  summarize,
} from "./summarize.ts";
import { verdictOf } from "./verdict.ts";

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
  const pairs = pairsOf(sides);
  const bySeeds = pairs.some(([candidate, baseline]) =>
      isSweep(baseline) &&
      sharedRange(candidate.curve, baseline.curve) !== undefined
    )
    ? curvesBySeeds(methods, metrics[0]!, options)
    : [];
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
      verdict: verdictOf(sides, {
        examples: first.labels.length,
        classes: first.classes,
        metric: metrics[0]!,
        constant,
        confidence,
        margin,
      }),
      methods: sides.map(({ summary }) => summary),
      contrasts: pairs.map(([candidate, baseline]) => ({
        ...differenceOf(sides, candidate, baseline, confidence),
        area: areaDifference(candidate.curve, baseline.curve, confidence),
        ...(isSweep(baseline)
          ? {
            speedUp: speedUp(candidate.curve, baseline.curve),
            recommendations: recommendationsOf(
              bySeeds,
              methods.indexOf(candidate.curve),
              methods.indexOf(baseline.curve),
              options,
            ),
          }
          : { speedUp: null, recommendations: [] }),
      })),
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

/**
 * Each candidate with each baseline, then with each LoRA reduced by SVD, which
 * also serves every rank after one training, unless it is reduced itself; only
 * where the variants do not contradict each other.
 */
function pairsOf<T extends Side>(sides: readonly T[]): (readonly [T, T])[] {
  const candidates = sides.filter((it) => it.summary.role === "candidate");
  const reduces = (it: T) => methodOf(it.summary.method).reduces;
  return [
    ...pairsWith(candidates, sides.filter(isSweep)),
    ...pairsWith(
      candidates.filter((it) => reduces(it) === undefined),
      candidates.filter((it) => reduces(it)?.by === "svd"),
    ),
  ];
}

/** Whether each of its ranks is a training of its own. */
function isSweep({ summary: { role } }: Side): boolean {
  return role === "baseline";
}

function pairsWith<T extends Side>(
  candidates: readonly T[],
  references: readonly T[],
): (readonly [T, T])[] {
  return candidates.flatMap((candidate) =>
    references
      .filter(({ summary: { variant } }) =>
        Object.entries(candidate.summary.variant).every(([key, value]) =>
          !Object.hasOwn(variant, key) || variant[key] === value
        )
      )
      .map((reference) => [candidate, reference] as const)
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

/** Difference of the areas over the ranks that both curves have. */
function areaDifference(
  ours: ScoreCurve,
  theirs: ScoreCurve,
  confidence: number,
): Contrast["area"] {
  const ranks = sharedRanks(ours, theirs);
  if (ranks.length < 2) return null;
  const area = (curve: ScoreCurve) =>
    areaUnderCurve({
      ranks,
      scores: ranks.map((rank) => curve.scores[curve.ranks.indexOf(rank)]!),
    });
  return {
    difference: definedOf(area(ours) - area(theirs)),
    interval: pairedInterval(
      areasOver(ranks, ours),
      areasOver(ranks, theirs),
      confidence,
    ),
  };
}

function pairedInterval(
  ours: Float64Array,
  theirs: Float64Array,
  confidence: number,
): [number, number] | null {
  return intervalOf(ours.map((it, r) => it - theirs[r]!), confidence);
}

/** The curves of all methods, by some seeds. */
interface BySeeds {
  readonly seeds: number[];
  /** Undefined for a method without these seeds. */
  readonly curves: readonly (ScoreCurve | undefined)[];
}

/** Curves by all seeds, then, if there are several, by each alone. */
function curvesBySeeds(
  methods: readonly MethodResults[],
  main: string,
  options: CompareOptions,
): BySeeds[] {
  // A method with one rank has no choice.
  const results = methods.filter(({ ranks }) => ranks.length > 1)
    .flatMap(({ results }) => results);
  const seeds = [...new Set(results.map(({ seed }) => seed))]
    .sort((a, b) => a - b);
  const alone = seeds.length === 1 ? [] : seeds.map((seed): BySeeds => {
    const found = methodsOf(
      results.filter((result) => result.seed === seed),
      main,
      options,
    ).methods;
    const keyOf = ({ results: [first] }: MethodResults) => methodKey(first!);
    return {
      seeds: [seed],
      curves: methods.map((method) =>
        found.find((curve) => keyOf(curve) === keyOf(method))
      ),
    };
  });
  return [{ seeds, curves: methods }, ...alone];
}

/** The ranks of a baseline within a candidate's range; undefined if either has fewer than two. */
function sharedRange(
  candidate: ScoreCurve,
  baseline: ScoreCurve,
): ScoreCurve | undefined {
  const [low, high] = [candidate.ranks[0]!, candidate.ranks.at(-1)!];
  const places = baseline.ranks.flatMap((rank, i) =>
    rank >= low && rank <= high ? [i] : []
  );
  return candidate.ranks.length < 2 || places.length < 2 ? undefined : {
    ranks: places.map((i) => baseline.ranks[i]!),
    scores: places.map((i) => baseline.scores[i]!),
    means: places.map((i) => baseline.means[i]!),
  };
}

/** What is recommended by all seeds, then by each alone; nothing if a score is undefined, so that all seeds recommend no rank. */
function recommendationsOf(
  bySeeds: readonly BySeeds[],
  candidate: number,
  baseline: number,
  options: CompareOptions,
): Contrast["recommendations"] {
  const [all = [], ...alone] = bySeeds.map(({ seeds, curves }) =>
    bothRecommended(curves[candidate], curves[baseline], options)
      .map((both) => ({ seeds, ...both }))
  );
  return all.length === 0 ? [] : [...all, ...alone.flat()];
}

/** The ranks recommended for a candidate and by a baseline's sweep, and what the first loses. */
function bothRecommended(
  candidate: ScoreCurve | undefined,
  baseline: ScoreCurve | undefined,
  options: CompareOptions,
): Omit<Contrast["recommendations"][number], "seeds">[] {
  if (candidate === undefined || baseline === undefined) return [];
  const sweep = sharedRange(candidate, baseline);
  if (sweep === undefined) return [];
  const at = ({ ranks, scores, means }: ScoreCurve) => {
    const found = recommend(ranks, scores, means, options);
    const i = found === undefined ? -1 : ranks.indexOf(found.rank);
    return { rank: ranks[i], score: scores[i]!, means: means[i]! };
  };
  const [ours, theirs] = [at(candidate), at(sweep)];
  return ours.rank === undefined || theirs.rank === undefined ? [] : [{
    candidate: ours.rank,
    baseline: theirs.rank,
    difference: ours.score - theirs.score,
    interval: pairedInterval(ours.means, theirs.means, options.confidence),
  }];
}

/** Only the baseline's trainings within the candidate's range of ranks count. */
function speedUp(
  candidate: MethodResults,
  baseline: MethodResults,
): Contrast["speedUp"] {
  const [low, high] = [candidate.ranks[0]!, candidate.ranks.at(-1)!];
  const within = baseline.results.filter(({ ranks }) =>
    ranks.every(({ rank }) => rank >= low && rank <= high)
  );
  const ours = costOf(candidate.results);
  const theirs = within.length === 0 ? null : costOf(within);
  if (ours === null || theirs === null) return null;
  return {
    ranks: theirs.ranks,
    training: theirs.trainingSeconds / ours.trainingSeconds,
    sweep: theirs.sweepSeconds / ours.sweepSeconds,
    examples: theirs.examples / ours.examples,
    trainingFlops: theirs.trainingFlops / ours.trainingFlops,
    sweepFlops: theirs.sweepFlops / ours.sweepFlops,
  };
}

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
    const [split, epoch] = JSON.parse(key) as [string, Average["epoch"]];
    return [{
      split,
      epoch,
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
          mean: definedOf(curve.scores[i]!),
          interval: intervalOf(curve.means[i]!, confidence),
        })),
      })),
      contrasts: pairsOf(sides).map(([candidate, baseline]) =>
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
