import { methodKey } from "./methods.ts";
import type { Contrast } from "./report.ts";
import { recommend } from "./statistics.ts";
import {
  type CompareOptions,
  costOf,
  type MethodResults,
  methodsOf,
  pairedInterval,
  type ScoreCurve,
} from "./summarize.ts";

/**
 * What each candidate saves against a sweep, which trains a baseline at every
 * rank, and what it loses at the rank that it recommends.
 *
 * @param pairs A candidate and a baseline, both of `methods`.
 */
export function againstSweeps(
  pairs: readonly (readonly [MethodResults, MethodResults])[],
  methods: readonly MethodResults[],
  main: string,
  options: CompareOptions,
): Pick<Contrast, "speedUp" | "recommendations">[] {
  const bySeeds = pairs.some((pair) => sharedRange(...pair) !== undefined)
    ? curvesBySeeds(methods, main, options)
    : [];
  return pairs.map(([candidate, baseline]) => ({
    speedUp: speedUp(candidate, baseline),
    recommendations: recommendationsOf(
      bySeeds,
      methods.indexOf(candidate),
      methods.indexOf(baseline),
      options,
    ),
  }));
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
