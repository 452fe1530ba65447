import { defined, definedInterval } from "./defined.ts";
import { type MethodResults, samplesAt } from "./method_results.ts";
import type { Contrast, CostSummary, MethodSummary } from "./report.ts";
import { mean } from "./statistics/sample.ts";
import { areasOf } from "./summarize.ts";

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
    area: areaDifference(candidate, baseline, confidence),
    speedUp: speedUp(candidate.summary.cost, baseline.summary.cost),
  };
}

function areaDifference(
  candidate: Side,
  baseline: Side,
  confidence: number,
): Contrast["area"] {
  const [ours, theirs] = [candidate.results, baseline.results];
  const sameRange = ours.ranks.length > 1 && theirs.ranks.length > 1 &&
    ours.ranks[0] === theirs.ranks[0] &&
    ours.ranks.at(-1) === theirs.ranks.at(-1);
  if (!sameRange) return null;
  const [our, their] = [candidate.summary.area, baseline.summary.area];
  return {
    difference: our.value === null || their.value === null
      ? null
      : our.value - their.value,
    interval: intervalOfDifference(areasOf(ours), areasOf(theirs), confidence),
  };
}

function speedUp(
  ours: CostSummary | null,
  theirs: CostSummary | null,
): Contrast["speedUp"] {
  if (ours === null || theirs === null) return null;
  return {
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
