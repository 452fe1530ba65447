import { defined, definedInterval } from "./defined.ts";
import { type MethodResults, samplesAt } from "./method_results.ts";
import type { Contrast, MethodSummary } from "./report.ts";
import { mean } from "./statistics/sample.ts";

/** A method to be compared with another. */
export interface Side {
  /** Its position among the methods. */
  readonly place: number;
  readonly results: MethodResults;
  readonly summary: MethodSummary;
}

/** Compares two methods: scores where both have the rank, and the costs of their sweeps. */
export function contrast(
  candidate: Side,
  baseline: Side,
  metric: string,
  confidence: number,
): Contrast {
  const [ours, theirs] = [candidate.results, baseline.results];
  const [cost, theirCost] = [candidate.summary.cost, baseline.summary.cost];
  const shared = ours.ranks.filter((rank) => theirs.ranks.includes(rank));
  return {
    candidate: candidate.place,
    baseline: baseline.place,
    ranks: shared.map((rank) => {
      const replicates = replicatesAt(ours, rank);
      const theirReplicates = replicatesAt(theirs, rank);
      return {
        rank,
        difference: defined(
          scoreAt(ours, rank, metric) - scoreAt(theirs, rank, metric),
        ),
        interval: definedInterval(
          replicates.map((score, r) => score - theirReplicates[r]!),
          confidence,
        ),
      };
    }),
    speedUp: {
      training: theirCost.trainingSeconds / cost.trainingSeconds,
      sweep: theirCost.sweepSeconds / cost.sweepSeconds,
      examples: theirCost.examples / cost.examples,
    },
  };
}

function replicatesAt(
  { ranks, replicates }: MethodResults,
  rank: number,
): Float64Array {
  return replicates[ranks.indexOf(rank)]!;
}

function scoreAt(
  { results }: MethodResults,
  rank: number,
  metric: string,
): number {
  return mean(samplesAt(results, rank, [metric])[metric]!);
}
