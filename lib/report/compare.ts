import { methodKey, type Role } from "./methods.ts";
import type {
  Average,
  Comparison,
  Contrast,
  MethodSummary,
  Report,
} from "./report.ts";
import type { Result } from "./result.ts";
import { areaUnderCurve, type Draw, mean, type Metric } from "./statistics.ts";
import {
  areasOver,
  costOf,
  defined,
  definedInterval,
  type MethodResults,
  methodsOf,
  samplesAt,
  summarize,
} from "./summarize.ts";

interface CompareOptions {
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
): Pick<Report, "comparisons" | "averages"> {
  const groups = Map.groupBy(
    results,
    ({ task, split, epoch }) => JSON.stringify([task, split, epoch]),
  );
  const compared = [...groups.values()].map((group) =>
    compareOne(group, options)
  );
  return {
    comparisons: compared.map(({ comparison }) => comparison),
    averages: averagesOf(compared, options.confidence),
  };
}

function compareOne(
  results: readonly Result[],
  options: CompareOptions,
): Compared {
  const [first] = results;
  const metrics = Object.keys(first!.ranks[0]!.metrics);
  checkSameExamples(results, metrics);
  const methods = methodsOf(
    results,
    options.metric(metrics[0]!),
    options.replicates,
    options.draw,
  );
  const sides = methods.map((results, place): Side => ({
    place,
    results,
    summary: summarize(results, metrics, options),
    scores: results.ranks.map((rank) =>
      mean(samplesAt(results.results, rank, [metrics[0]!])[metrics[0]!]!)
    ),
  }));
  const withRole = (role: Role) =>
    sides.filter(({ summary }) => summary.role === role);
  const comparison: Comparison = {
    task: first!.task,
    title: first!.title,
    split: first!.split,
    epoch: first!.epoch,
    examples: first!.labels.length,
    metrics,
    majority: majorityOf(first!, metrics, options),
    confidence: options.confidence,
    methods: sides.map(({ summary }) => summary),
    contrasts: withRole("candidate").flatMap((candidate) =>
      withRole("baseline")
        .filter((baseline) => comparable(candidate, baseline))
        .map((baseline) =>
          contrast(candidate, baseline, metrics[0]!, options.confidence)
        )
    ),
  };
  return { comparison, sides };
}

/** What always answering with the most frequent class reaches. */
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
    metrics.map((name) => [name, defined(metric(name)(constant, labels))]),
  );
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

/** A method to be compared with another. */
interface Side {
  /** Its position among the methods. */
  readonly place: number;
  readonly results: MethodResults;
  readonly summary: MethodSummary;
  /** Mean of the main metric over the seeds, by rank; NaN where it is undefined. */
  readonly scores: readonly number[];
}

/** Whether two variants have no value that contradicts the other: those trained otherwise are not compared. */
function comparable(
  { summary: { variant: ours } }: Side,
  { summary: { variant: theirs } }: Side,
): boolean {
  return Object.entries(ours).every(([key, value]) =>
    !Object.hasOwn(theirs, key) || theirs[key] === value
  );
}

/** Compares two methods: scores where both have the rank, and the costs of their sweeps. */
function contrast(
  candidate: Side,
  baseline: Side,
  metric: string,
  confidence: number,
): Contrast {
  const [ours, theirs] = [candidate.results, baseline.results];
  const shared = ours.ranks.filter((rank) => theirs.ranks.includes(rank));
  return {
    candidate: candidate.place,
    baseline: baseline.place,
    ranks: shared.map((rank) => ({
      rank,
      difference: defined(
        scoreAt(ours, rank, metric) - scoreAt(theirs, rank, metric),
      ),
      interval: intervalOfDifference(
        replicatesAt(ours, rank),
        replicatesAt(theirs, rank),
        confidence,
      ),
    })),
    area: areaDifference(candidate, baseline, shared, confidence),
    speedUp: speedUp(candidate, baseline),
  };
}

/** Both areas are over the ranks that both methods have: no rank is filled in. */
function areaDifference(
  candidate: Side,
  baseline: Side,
  ranks: readonly number[],
  confidence: number,
): Contrast["area"] {
  if (ranks.length < 2) return null;
  const area = ({ results, scores }: Side) =>
    areaUnderCurve({
      ranks,
      scores: ranks.map((rank) => scores[results.ranks.indexOf(rank)]!),
    });
  return {
    difference: defined(area(candidate) - area(baseline)),
    interval: intervalOfDifference(
      areasOver(ranks, candidate.results),
      areasOver(ranks, baseline.results),
      confidence,
    ),
  };
}

/** The baseline's trainings count at ranks within the candidate's range: it serves no others. */
function speedUp(candidate: Side, baseline: Side): Contrast["speedUp"] {
  const ours = candidate.summary.cost;
  const { ranks } = candidate.results;
  const within = baseline.results.results.filter((result) =>
    result.ranks.every(({ rank }) => rank >= ranks[0]! && rank <= ranks.at(-1)!)
  );
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

function intervalOfDifference(
  ours: Float64Array,
  theirs: Float64Array,
  confidence: number,
) {
  return definedInterval(
    ours.map((score, r) => score - theirs[r]!),
    confidence,
  );
}

function replicatesAt(
  { ranks, replicates }: MethodResults,
  rank: number,
): Float64Array {
  return replicates[ranks.indexOf(rank)]!.means;
}

function scoreAt(
  { results }: MethodResults,
  rank: number,
  metric: string,
): number {
  return mean(samplesAt(results, rank, [metric])[metric]!);
}

/** A comparison, and the replicates behind it. */
interface Compared {
  readonly comparison: Comparison;
  readonly sides: readonly Side[];
}

/**
 * Averages of the main metric over tasks, as the papers print them: for each
 * split and choice of epoch with more than one task, the methods that all of
 * the tasks have, at the ranks that all of them have. Of MNLI, the matched set
 * counts. Where there is no such method, there is no average.
 *
 * A replicate of an average is the mean of one of each task; the tasks'
 * bootstraps are independent of each other.
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
    if (group.length < 2) return [];
    const [split, epoch] = JSON.parse(key) as [string, Average["epoch"]];
    const averaged = averageMethods(group, confidence);
    return averaged.methods.length === 0 ? [] : [{
      split,
      epoch,
      tasks: group.map(({ comparison: { task, title, metrics } }) => ({
        task,
        title,
        metric: metrics[0]!,
      })),
      confidence,
      ...averaged,
    }];
  });
}

/** A method on every task, and the ranks that it has on all of them. */
interface Averaged {
  /** One for each task, in their order. */
  readonly sides: readonly Side[];
  readonly ranks: readonly number[];
}

function averageMethods(
  [first, ...others]: readonly Compared[],
  confidence: number,
): Pick<Average, "methods" | "contrasts"> {
  const averaged = first!.sides.flatMap((side): Averaged[] => {
    const same = others.map(({ sides }) =>
      sides.find((other) =>
        methodKey(other.summary) === methodKey(side.summary)
      )
    );
    if (same.includes(undefined)) return [];
    const sides = [side, ...same as Side[]];
    const ranks = side.results.ranks.filter((rank) =>
      sides.every(({ results }) => results.ranks.includes(rank))
    );
    return ranks.length === 0 ? [] : [{ sides, ranks }];
  });
  return {
    methods: averaged.map(({ sides, ranks }) => {
      const { role, method, variant } = sides[0]!.summary;
      return {
        role,
        method,
        variant,
        ranks: ranks.map((rank) => {
          const { score, replicates } = averageAt(sides, rank);
          return {
            rank,
            mean: defined(score),
            interval: definedInterval(replicates, confidence),
          };
        }),
      };
    }),
    contrasts: contrastsOf(averaged, confidence),
  };
}

/** Tasks are paired as within each of them, so the difference has an interval of its own. */
function contrastsOf(
  averaged: readonly Averaged[],
  confidence: number,
): Average["contrasts"] {
  const withRole = (role: Role) =>
    averaged.filter(({ sides }) => sides[0]!.summary.role === role);
  return withRole("candidate").flatMap((candidate) =>
    withRole("baseline")
      .filter((baseline) => comparable(candidate.sides[0]!, baseline.sides[0]!))
      .map((baseline) => ({
        candidate: averaged.indexOf(candidate),
        baseline: averaged.indexOf(baseline),
        ranks: candidate.ranks
          .filter((rank) => baseline.ranks.includes(rank))
          .map((rank) => {
            const ours = averageAt(candidate.sides, rank);
            const theirs = averageAt(baseline.sides, rank);
            return {
              rank,
              difference: defined(ours.score - theirs.score),
              interval: definedInterval(
                ours.replicates.map((it, r) => it - theirs.replicates[r]!),
                confidence,
              ),
            };
          }),
      }))
  );
}

/** Mean over tasks of the score at a rank, and of its replicates. */
function averageAt(sides: readonly Side[], rank: number) {
  const places = sides.map(({ results }) => results.ranks.indexOf(rank));
  const replicates = sides.map(({ results }, i) =>
    results.replicates[places[i]!]!.means
  );
  return {
    score: mean(sides.map(({ scores }, i) => scores[places[i]!]!)),
    replicates: replicates[0]!.map((_, r) =>
      mean(replicates.map((values) => values[r]!))
    ),
  };
}
