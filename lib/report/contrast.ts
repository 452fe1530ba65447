import { costOf } from "./cost.ts";
import { defined, definedInterval } from "./defined.ts";
import { type MethodResults, samplesAt } from "./method_results.ts";
import type { Contrast, MethodSummary } from "./report.ts";
import { areaUnderCurve } from "./statistics/curve.ts";
import { mean } from "./statistics/sample.ts";
import { areasOver } from "./summarize.ts";

/** A method to be compared with another. */
export interface Side {
  /** Its position among the methods. */
  readonly place: number;
  readonly results: MethodResults;
  readonly summary: MethodSummary;
  /** Mean of the main metric over the seeds, by rank; NaN where it is undefined. */
  readonly scores: readonly number[];
}

/** Whether two variants have no value that contradicts the other: those trained otherwise are not compared. */
export function comparable(
  { summary: { variant: ours } }: Side,
  { summary: { variant: theirs } }: Side,
): boolean {
  return Object.entries(ours).every(([key, value]) =>
    !Object.hasOwn(theirs, key) || theirs[key] === value
  );
}

/** Compares two methods: scores where both have the rank, and the costs of their sweeps. */
export function contrast(
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
