import type { Contrast } from "./report.ts";
import { recommend } from "./statistics.ts";
import {
  type CompareOptions,
  costOf,
  type MethodResults,
  pairedInterval,
  type ScoreCurve,
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
  return {
    ranks: theirs.ranks,
    training: theirs.trainingSeconds / ours.trainingSeconds,
    sweep: theirs.sweepSeconds / ours.sweepSeconds,
    examples: theirs.examples / ours.examples,
    trainingFlops: theirs.trainingFlops / ours.trainingFlops,
    sweepFlops: theirs.sweepFlops / ours.sweepFlops,
  };
}

/** The ranks recommended for a candidate and by a baseline's sweep over its range, and what the first loses; null if either has fewer than two such ranks, or an undefined score. */
function bothRecommended(
  candidate: ScoreCurve,
  { ranks, scores, means }: ScoreCurve,
  options: CompareOptions,
): Contrast["recommended"] {
  const [low, high] = [candidate.ranks[0]!, candidate.ranks.at(-1)!];
  const places = [...ranks.keys()]
    .filter((i) => ranks[i]! >= low && ranks[i]! <= high);
  if (candidate.ranks.length < 2 || places.length < 2) return null;
  const at = (curve: ScoreCurve) => {
    const found = recommend(curve.ranks, curve.scores, curve.means, options);
    const i = found === undefined ? -1 : curve.ranks.indexOf(found.rank);
    return {
      rank: found?.rank,
      score: curve.scores[i]!,
      means: curve.means[i]!,
    };
  };
  const ours = at(candidate);
  const theirs = at({
    ranks: places.map((i) => ranks[i]!),
    scores: places.map((i) => scores[i]!),
    means: places.map((i) => means[i]!),
  });
  if (ours.rank === undefined || theirs.rank === undefined) return null;
  return {
    candidate: ours.rank,
    baseline: theirs.rank,
    difference: ours.score - theirs.score,
    interval: pairedInterval(ours.means, theirs.means, options.confidence),
  };
}
