import type { Bound } from "../engine/schedules/registry.ts";
import { methodTitle } from "./methods.ts";
import type { MethodSummary, Verdict } from "./report.ts";
import {
  type Difference,
  interval,
  type ScoreCurve,
  simultaneousIntervals,
  variance,
} from "./statistics.ts";
import type { Constant } from "./summarize.ts";

/** A method in a comparison: its scores by rank and their summary. */
export interface Side {
  readonly curve: ScoreCurve;
  readonly summary: MethodSummary;
}

/** Facts about a comparison besides its methods. */
export interface Setting {
  /** Number of scored examples. */
  readonly examples: number;
  /** Whether the labels are classes. */
  readonly classes: boolean;
  /** The main metric. */
  readonly metric: string;
  /** A constant prediction. */
  readonly constant: Constant;
  readonly confidence: number;
  /** Largest acceptable loss against the best rank. */
  readonly margin: number;
}

/** A score with its replicates; of a method at a rank, or of a reference. */
interface Scored {
  readonly score: number;
  /** `[replicates]` */
  readonly means: Float64Array;
  /** Empty for a reference without training. */
  readonly seeds: readonly number[];
  /** Scores by seed. */
  readonly values: readonly number[];
}

/** A method at a rank. */
interface Cell extends Scored {
  /** Position among the sides. */
  readonly method: number;
  readonly rank: number;
}

/** A verdict without its sentences. */
export interface Decision extends Omit<Verdict, "headline" | "reasons"> {
  /** Titles of the deciding methods with one seed, if others have several. */
  readonly single: readonly string[];
  /** Whether some adapter has certainly learnt, if not the verdict's. */
  readonly othersLearnt: boolean;
}

/** Number of seeds below which a verdict may depend on them. */
export const FEW_SEEDS = 2;

/**
 * The verdict on the first candidate of a comparison with defined scores, or on
 * its first baseline if there is no such candidate. It is the first of these that holds:
 *
 * 1. `nothing-learnt`: no adapter scores above always predicting the same
 *    class, or above the head on the frozen encoder.
 * 2. `other-better`: another method, at one of its ranks, is better than the
 *    best rank of this one, by more than the margin.
 * 3. `nothing-learnt`, by this method.
 * 4. `too-few-examples`: another rank may be better than the recommended one by
 *    more than the margin, or another method is better, possibly by chance.
 * 5. `recommended`: no rank is better by more than the margin.
 *
 * "Better" and "above" are claims at the confidence of the comparison, by
 * {@linkcode simultaneousIntervals} of paired differences: the same examples
 * that test a claim have chosen the best of several ranks.
 *
 * @returns Null if there is no adapter, or its score is undefined.
 */
export function decide(
  sides: readonly Side[],
  setting: Setting,
): Decision | null {
  const { confidence, margin } = setting;
  const place = ["candidate", "baseline"].map((role) =>
    sides.findIndex(({ summary }) =>
      summary.role === role && summary.recommendation !== null
    )
  ).find((place) => place >= 0);
  if (place === undefined) return null;
  const cells = sides.flatMap(({ summary }, i) =>
    summary.role === "bound" ? [] : cellsOf(sides[i]!, i, setting.metric)
  );
  const own = cells.filter(({ method }) => method === place);
  const others = cells.filter(({ method }) => method !== place);
  const { recommendation } = sides[place]!.summary;
  const at = (rank: number) => own.find((cell) => cell.rank === rank)!;
  const recommended = at(recommendation!.rank);
  const best = at(recommendation!.best);
  const references = referencesOf(sides, setting);
  const pick = (cell: Cell) => ({
    method: cell.method,
    title: methodTitle(sides[cell.method]!.summary),
    rank: cell.rank,
    score: cell.score,
    interval: interval(cell.means, confidence),
  });
  /**
   * The best of some cells against a reference, and the two-sided interval of
   * its difference: of the cells that are certainly better, and by more than
   * `least`, if there are any; a mean over seeds that differ much may be larger
   * than theirs.
   */
  const against = (
    found: readonly Cell[],
    reference: Scored,
    least = 0,
  ) => {
    const differences = found.map((cell) =>
      differenceOf(cell, reference, setting)
    );
    const intervals = simultaneousIntervals(differences, confidence, 2);
    const places = [...found.keys()];
    const valueOf = (i: number) => differences[i]!.value;
    const certain = places.filter((i) =>
      intervals[i]![0] > 0 && valueOf(i) > least
    );
    const i = (certain.length > 0 ? certain : places)
      .reduce((best, i) => valueOf(i) > valueOf(best) ? i : best);
    return {
      ...pick(found[i]!),
      difference: valueOf(i),
      differenceInterval: intervals[i]!,
    };
  };
  const shortfall = (found: readonly Cell[]) => {
    const results = references.map(({ kind, ...reference }) => ({
      kind,
      referenceScore: reference.score,
      ...against(found, reference),
    }));
    const short = results.find(({ differenceInterval: [low] }) => low <= 0);
    return { short, shown: short ?? results[0]! };
  };
  const all = shortfall(cells);
  const ours = shortfall(own);
  const other = others.length === 0 ? null : against(others, best, margin);
  const rivals = own.filter((cell) => cell !== recommended);
  const bound = rivals.length === 0 ? null : Math.max(
    ...simultaneousIntervals(
      rivals.map((cell) => differenceOf(cell, recommended, setting)),
      confidence,
      1,
    ).map(([, high]) => high),
  );
  const isOtherBetter = other !== null && other.differenceInterval[0] > 0 &&
    other.difference > margin;
  const kind = all.short !== undefined
    ? "nothing-learnt"
    : isOtherBetter
    ? "other-better"
    : ours.short !== undefined
    ? "nothing-learnt"
    : (bound !== null && bound > margin && recommended.score < 1) ||
        (other !== null && other.difference > margin)
    ? "too-few-examples"
    : "recommended";
  const deciding = [
    recommended,
    best,
    ...others.filter(({ method, rank }) =>
      method === other?.method && rank === other.rank
    ),
  ];
  const single = deciding.filter(({ seeds }) => seeds.length < FEW_SEEDS);
  const titles = single.length === deciding.length
    ? []
    : single.map((cell) => pick(cell).title);
  return {
    kind,
    recommended: pick(recommended),
    best: pick(best),
    margin,
    bound,
    reference: (all.short === undefined ? ours : all).shown,
    other,
    seeds: Math.min(...deciding.map(({ seeds }) => seeds.length)),
    single: [...new Set(titles)],
    othersLearnt: all.short === undefined,
  };
}

/** The ranks of a method whose scores are defined for every replicate. */
function cellsOf(
  { curve, summary }: Side,
  method: number,
  metric: string,
): Cell[] {
  return curve.ranks.map((rank, i): Cell => ({
    method,
    rank,
    score: curve.scores[i]!,
    means: curve.means[i]!,
    seeds: summary.ranks[i]!.seeds,
    values: summary.ranks[i]!.metrics[metric]!.values
      .map((value) => value ?? NaN),
  })).filter(({ score, means }) =>
    !Number.isNaN(score) && !means.some(Number.isNaN)
  );
}

const HEAD: Bound = "head";

/** Scores that an adapter must exceed to have learnt something. */
function referencesOf(sides: readonly Side[], { constant, metric }: Setting) {
  const heads = sides.flatMap((side, i) =>
    side.summary.method === HEAD ? cellsOf(side, i, metric) : []
  );
  return [
    { kind: "constant" as const, ...constant, seeds: [], values: [] },
    ...heads.map((cell) => ({ kind: "head" as const, ...cell })),
  ];
}

/**
 * The paired difference of two scores, with what the bootstrap leaves out of
 * its variance:
 *
 * - A resample of n seeds has (n - 1) / n of their variance.
 * - Where two methods agree on every example, the resamples do as well, however
 *   few the examples. As in the interval of Bonett and Price (2012), two
 *   examples are added, on each of which one of the two is right: 2 / (n + 2)^2.
 *   They count as much as an example does in the accuracy.
 */
function differenceOf(
  ours: Scored,
  theirs: Scored,
  { examples, classes }: Pick<Setting, "examples" | "classes">,
): Difference {
  const paired = ours.seeds.join() === theirs.seeds.join();
  const samples = paired
    ? [ours.values.map((value, s) => value - theirs.values[s]!)]
    : [ours.values, theirs.values];
  const betweenSeeds = samples.filter((values) => values.length > 1)
    .reduce((sum, values) => sum + variance(values) / values.length ** 2, 0);
  return {
    value: ours.score - theirs.score,
    replicates: ours.means.map((score, r) => score - theirs.means[r]!),
    added: betweenSeeds + (classes ? 2 / (examples + 2) ** 2 : 0),
  };
}
