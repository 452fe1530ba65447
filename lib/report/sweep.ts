import type { Contrast } from "./report.ts";
import { curveAt, recommend, type ScoreCurve } from "./statistics.ts";
import {
  type CompareOptions,
  costOf,
  type MethodResults,
  pairedInterval,
} from "./summarize.ts";

/** What a candidate saves against a sweep, which trains a baseline at every rank, and what it loses at the rank that it recommends. */
export function againstSweep(
  candidate: MethodResults,
  baseline: MethodResults,
  options: CompareOptions,
): Pick<Contrast, "speedUp" | "recommended"> {
  return {
    speedUp: speedUp(candidate, baseline),
    recommended: bothRecommended(candidate, baseline, options),
  };
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

/** The ranks recommended for a candidate and by a baseline's sweep over its range, and what the first loses; null if either has fewer than two such ranks, or an undefined score. */
function bothRecommended(
  candidate: ScoreCurve,
  baseline: ScoreCurve,
  options: CompareOptions,
): Contrast["recommended"] {
  const [low, high] = [candidate.ranks[0]!, candidate.ranks.at(-1)!];
  const within = baseline.ranks.filter((rank) => rank >= low && rank <= high);
  if (candidate.ranks.length < 2 || within.length < 2) return null;
  const [ours, theirs] = [candidate, curveAt(baseline, within)].map((curve) => {
    const found = recommend(curve, options);
    return found && curveAt(curve, [found.rank]);
  });
  return ours && theirs
    ? {
      candidate: ours.ranks[0]!,
      baseline: theirs.ranks[0]!,
      difference: ours.scores[0]! - theirs.scores[0]!,
      interval: pairedInterval(
        ours.means[0]!,
        theirs.means[0]!,
        options.confidence,
      ),
    }
    : null;
}
