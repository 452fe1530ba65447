import type { Bound } from "../engine/schedules/registry.ts";
import {
  exactPercent,
  formatOf,
  metricInWords,
  withInterval,
} from "./format.ts";
import { methodTitle } from "./methods.ts";
import {
  type Difference,
  interval,
  type ScoreCurve,
  simultaneousIntervals,
  variance,
} from "./statistics.ts";
import type { CompareOptions, Constant, MethodSummary } from "./summarize.ts";

/** A method in a comparison: its scores by rank and their summary. */
export interface Side {
  readonly curve: ScoreCurve;
  readonly summary: MethodSummary;
}

/** Facts about a comparison besides its methods. */
export interface Setting extends Pick<CompareOptions, "confidence" | "margin"> {
  /** Number of scored examples. */
  readonly examples: number;
  /** Whether the labels are classes. */
  readonly classes: boolean;
  /** The main metric. */
  readonly metric: string;
  /** A constant prediction; undefined if none is a score of knowing nothing. */
  readonly constant: Constant | undefined;
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

type Kind =
  | "nothing-learnt"
  | "other-better"
  | "too-few-examples"
  | "recommended";

/** A method at a rank. */
interface Cell extends Scored {
  /** Position among the sides. */
  readonly method: number;
  readonly rank: number;
}

/** Number of seeds below which a verdict may depend on them. */
const FEW_SEEDS = 2;

/** What the scores of a comparison say, and what the examples cannot tell. */
export type Verdict = NonNullable<ReturnType<typeof verdictOf>>;

/** {@linkcode decide} with the sentences that say it. */
export function verdictOf(sides: readonly Side[], setting: Setting) {
  const decision = decide(sides, setting);
  if (decision === null) return null;
  const { single: _1, othersLearnt: _2, sign: _3, ...verdict } = decision;
  return { ...verdict, ...verdictText(decision, setting) };
}

/** An interval of scores as one of their metric, of which these may be negatives; also the inverse. */
function ofMetric<Interval extends readonly [number, number] | null>(
  interval: Interval,
  sign: 1 | -1,
): Interval {
  if (interval === null || sign === 1) return interval;
  return [-interval[1], -interval[0]] as readonly [number, number] as Interval;
}

/**
 * The verdict on the first candidate of a comparison with defined scores, or on
 * its first baseline if there is no such candidate. It is the first of these that holds:
 *
 * 1. `nothing-learnt`: no adapter scores above always predicting the same
 *    class, or writing nothing, or above the head on the frozen encoder.
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
function decide(sides: readonly Side[], setting: Setting) {
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
  const { sign } = sides[place]!.curve;
  /** A method at one of its ranks. */
  const pick = (cell: Cell) => ({
    /** Position in `methods`. */
    method: cell.method,
    title: methodTitle(sides[cell.method]!.summary),
    rank: cell.rank,
    /** Mean of the main metric over seeds, and its interval. */
    score: sign * cell.score,
    interval: ofMetric(interval(cell.means, confidence), sign),
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
      isBetter: intervals[i]![0] > 0,
      gain: valueOf(i),
      cell: {
        ...pick(found[i]!),
        difference: sign * valueOf(i),
        /** Holds for all ranks at once. */
        differenceInterval: ofMetric(intervals[i]!, sign),
      },
    };
  };
  const shortfall = (found: readonly Cell[]) => {
    const results = references.map(({ kind, ...reference }) => {
      const { isBetter, cell } = against(found, reference);
      const referenceScore = sign * reference.score;
      return { isBetter, shown: { kind, referenceScore, ...cell } };
    });
    const short = results.find(({ isBetter }) => !isBetter);
    return { short, shown: (short ?? results[0])?.shown ?? null };
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
  const isOtherAbove = other !== null && other.gain > margin;
  const kind: Kind = all.short !== undefined
    ? "nothing-learnt"
    : isOtherAbove && other.isBetter
    ? "other-better"
    : ours.short !== undefined
    ? "nothing-learnt"
    : (bound !== null && bound > margin && recommended.score < 1) ||
        isOtherAbove
    ? "too-few-examples"
    : "recommended";
  const deciding = [
    recommended,
    best,
    ...others.filter(({ method, rank }) =>
      method === other?.cell.method && rank === other.cell.rank
    ),
  ];
  const single = deciding.filter(({ seeds }) => seeds.length < FEW_SEEDS);
  const titles = single.length === deciding.length
    ? []
    : single.map((cell) => pick(cell).title);
  return {
    kind,
    /** The recommended rank of the method that the verdict is about. */
    recommended: pick(recommended),
    /** The rank of this method with the highest score. */
    best: pick(best),
    /** Largest acceptable loss of the recommended rank. */
    margin,
    /** By how much another rank of this method may be better, at the confidence of the comparison; null if there is no other. */
    bound,
    sign,
    /** The adapter that is compared with always predicting the same class, or with the head on the frozen encoder; null without either. */
    reference: (all.short === undefined ? ours : all).shown,
    /** The best of the other methods, against `best`; null if there is none. */
    other: other && other.cell,
    /** Fewest seeds of a score that decides. */
    seeds: Math.min(...deciding.map(({ seeds }) => seeds.length)),
    /** Titles of the deciding methods with one seed, if others have several. */
    single: [...new Set(titles)],
    /** Whether some adapter has certainly learnt, if not the verdict's. */
    othersLearnt: all.short === undefined,
  };
}

/** The ranks of a method whose scores are defined for every replicate; of a metric of which lower values are better, their negatives. */
function cellsOf(
  { curve, summary }: Side,
  method: number,
  metric: string,
): Cell[] {
  return curve.ranks.map((rank, i): Cell => ({
    method,
    rank,
    score: curve.sign * curve.scores[i]!,
    means: curve.means[i]!.map((score) => curve.sign * score),
    seeds: summary.ranks[i]!.seeds,
    values: summary.ranks[i]!.metrics[metric]!.values
      .map((value) => value === null ? NaN : curve.sign * value),
  })).filter(({ score, means }) =>
    !Number.isNaN(score) && !means.some(Number.isNaN)
  );
}

/** Scores that an adapter must exceed to have learnt something. */
function referencesOf(sides: readonly Side[], { constant, metric }: Setting) {
  const heads = sides.flatMap((side, i) =>
    side.summary.method === ("head" satisfies Bound)
      ? cellsOf(side, i, metric)
      : []
  );
  return [
    ...constant
      ? [{ kind: "constant" as const, ...constant, seeds: [], values: [] }]
      : [],
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

/** The verdict as a headline and the sentences that support it, in plain text. */
function verdictText(
  decision: NonNullable<ReturnType<typeof decide>>,
  { examples, confidence, constant, ...setting }: Setting,
): { readonly headline: string; readonly reasons: string[] } {
  const { kind, recommended, best, reference, other } = decision;
  const { margin, bound, single, othersLearnt, sign } = decision;
  const { value, signed, exact, amount, factor, digits } = formatOf(
    setting.metric,
  );
  const scoreOf = ({ score, interval }: typeof best) =>
    withInterval(score, interval, value);
  const differenceOf = (
    { difference, differenceInterval }: NonNullable<typeof other>,
  ) => withInterval(difference, differenceInterval, signed);
  const { title } = recommended;
  const metric = metricInWords(setting.metric);
  const acceptable = amount(margin, exact);
  const level = `${exactPercent(confidence)} %`;
  const of = single.length === 0 ? "" : ` of ${single.join(" and ")}`;
  const seeds = decision.seeds < FEW_SEEDS
    ? [
      `There is only one seed${of}: the verdict holds for these trainings, and other seeds may differ.`,
    ]
    : [];
  const isChance = other !== null && other.difference !== 0 &&
    other.differenceInterval[0] <= 0 && other.differenceInterval[1] >= 0;
  const chance = isChance ? ", which may be due to chance" : "";
  const [theirs, by] = other === null
    ? []
    : [scoreOf(other), differenceOf(other)];
  const otherText = other === null ? [] : [
    `${other.title} at its best rank (${other.rank}) scores ${theirs}: ${by} against the best rank of ${title} (${best.rank})${chance}.`,
  ];
  const score = scoreOf(recommended);
  const use = `Use rank ${recommended.rank} of ${title}: ${metric} ${score}.`;
  const remedy =
    "More labelled rows tell more; of your own data, -S holdout=0.3 holds out more.";
  const [isAs, than] = bound === null || bound >= 0
    ? ["better", bound ? ` by more than ${amount(bound)}` : ""]
    : ["as good", ""];
  const enough = bound === null
    ? "No other rank was evaluated."
    : recommended.score === 1
    ? "No other rank can score more."
    : `No other rank is ${isAs}${than} (${level} confidence), and a loss of ${acceptable} is acceptable.`;
  switch (kind) {
    case "nothing-learnt": {
      const { kind, referenceScore, ...cell } = reference!;
      const [than, beyond] = kind === "head"
        ? ["the head on the frozen encoder", " beyond the head"]
        : [constant!.name, ""];
      const [nothing, anything, score] = othersLearnt
        ? [`${title} learnt nothing`, `${title} learnt anything`, `of ${title}`]
        : ["Nothing was learnt", "anything was learnt", ""];
      // The interval leaves room for a gain that matters.
      const [, most] = ofMetric(reference!.differenceInterval, sign);
      const isOpen = most > margin;
      const not = isOpen ? "not certainly" : "not";
      const [found, least] = [scoreOf(cell), value(referenceScore)];
      const difference = differenceOf(reference!);
      return {
        headline: isOpen
          ? `Too few examples to tell whether ${anything}${beyond}.`
          : `${nothing}${beyond}.`,
        reasons: [
          `The best score${
            score && ` ${score}`
          }, ${found} (${cell.title} at rank ${cell.rank}), is ${not} above the ${least} of ${than}: ${metric} ${difference} on ${examples} examples.`,
          ...(othersLearnt ? otherText : []),
          isOpen ? remedy : "Try other learning rates, alphas and epochs.",
        ],
      };
    }
    case "other-better": {
      const gained = ofMetric(other!.differenceInterval, sign);
      const by = withInterval(sign * other!.difference, gained, value);
      const unit = factor === 1 ? "of" : "points of";
      const ours = scoreOf(best);
      return {
        headline: `${other!.title} is better here by ${by} ${unit} ${metric}.`,
        reasons: [
          `${other!.title} has ${metric} ${theirs} at rank ${
            other!.rank
          }, ${title} at most ${ours}, at rank ${best.rank}.`,
          `The recommended rank of ${title} is ${recommended.rank}.`,
          ...seeds,
        ],
      };
    }
    case "too-few-examples": {
      if (bound === null || bound <= margin) {
        return {
          headline: use,
          reasons: [
            `There are too few examples to tell whether ${
              other!.title
            } is better.`,
            ...otherText,
            enough,
            ...seeds,
            remedy,
          ],
        };
      }
      // With one digit, the bound may look like the margin that it exceeds.
      const isClose = value(bound) === value(margin);
      const most = amount(
        bound,
        (it) => (factor * it).toFixed(isClose ? digits + 1 : digits),
      );
      return {
        headline: use,
        reasons: [
          `There are too few examples to tell ranks apart by less than ${most}: on these ${examples}, another rank may be better by up to ${most} (${level} confidence), more than the margin of ${acceptable}.`,
          ...otherText,
          ...seeds,
          remedy,
        ],
      };
    }
    case "recommended":
      return {
        headline: use,
        reasons: [enough, ...otherText, ...seeds],
      };
  }
}
