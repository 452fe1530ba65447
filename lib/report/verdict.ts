import { PRETRAINED } from "../engine/schedules/registry.ts";
import { methodTitle } from "./methods.ts";
import type {
  ComparedCell,
  Interval,
  MethodSummary,
  Verdict,
  VerdictCell,
  VerdictKind,
  VerdictReference,
} from "./report.ts";
import {
  type Difference,
  type ScoreCurve,
  scoreInterval,
  simultaneousIntervals,
  variance,
} from "./statistics.ts";
import type { CompareOptions, Constant } from "./summarize.ts";
import { verdictSentences } from "./verdict_text.ts";

/** A method in a comparison: its scores by rank and their summary. */
export interface Side {
  readonly curve: ScoreCurve;
  readonly summary: MethodSummary;
}

/** Facts about a comparison besides its methods. */
export interface Setting extends Pick<CompareOptions, "confidence" | "margin"> {
  readonly split: string;
  /** Number of scored examples. */
  readonly examples: number;
  /** Whether the labels are classes. */
  readonly classes: boolean;
  /** The main metric. */
  readonly metric: string;
  /**
   * The best constant prediction; undefined for a loss, which has no chance
   * baseline.
   */
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

/** A method at a rank. */
interface Cell extends Scored {
  /** Position among the sides. */
  readonly method: number;
  readonly rank: number;
}

/** A score that an adapter must exceed to have learnt something. */
interface Reference extends Scored {
  readonly kind: VerdictReference["kind"];
}

/** Advantage of a cell over a reference; higher scores are better. */
interface Advantage {
  readonly cell: Cell;
  readonly gain: number;
  /** Interval of the gain, which holds for all cells at once. */
  readonly interval: Interval;
}

/** What the adapters have learnt beyond the references. */
interface Learning {
  readonly hasLearnt: boolean;
  /**
   * The reference that no cell exceeds, otherwise the first one; undefined
   * without references.
   */
  readonly against: (Advantage & { readonly reference: Reference }) | undefined;
}

/** Number of seeds below which a verdict may depend on them. */
const FEW_SEEDS = 2;

/**
 * The verdict on the first candidate of a comparison with defined scores, or on
 * its first baseline if there is no such candidate. It is the first of these
 * that holds:
 *
 * 1. `nothing-learnt`: no adapter scores above always predicting the same
 *    class, copying the prompt, writing the most frequent text or nothing, nor
 *    above the head on the frozen encoder, nor, of embeddings, above the model
 *    without an adapter.
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
export function verdictOf(
  sides: readonly Side[],
  setting: Setting,
): Verdict | null {
  const { margin } = setting;
  const method = judgedMethod(sides);
  if (method === undefined) return null;
  const { curve, summary } = sides[method]!;
  const { rank, best: bestRank } = summary.recommendation!;
  const cells = sides.flatMap((side, i) =>
    side.summary.role === "bound" ? [] : cellsOf(side, i, setting.metric)
  );
  const ownCells = cells.filter((cell) => cell.method === method);
  const otherCells = cells.filter((cell) => cell.method !== method);
  const recommended = ownCells.find((cell) => cell.rank === rank)!;
  const best = ownCells.find((cell) => cell.rank === bestRank)!;
  const references = referencesOf(sides, setting);
  const allLearning = learningOf(cells, references, setting);
  const ownLearning = learningOf(ownCells, references, setting);
  const other = otherCells.length === 0
    ? undefined
    : bestAgainst(otherCells, best, setting, margin);
  const bound = largestGain(ownCells, recommended, setting);
  const kind = kindOf({ allLearning, ownLearning, other, bound, margin });

  const { sign } = curve;
  const shown = (cell: Cell) => verdictCell(cell, sides, setting);
  const compared = (advantage: Advantage): ComparedCell => ({
    ...shown(advantage.cell),
    difference: sign * advantage.gain,
    differenceInterval: signed(advantage.interval, sign),
  });
  const { against } = allLearning.hasLearnt ? ownLearning : allLearning;
  const deciding = other === undefined
    ? [recommended, best]
    : [recommended, best, other.cell];
  const verdict: Omit<Verdict, "headline" | "reasons"> = {
    kind,
    recommended: shown(recommended),
    best: shown(best),
    margin,
    bound,
    reference: against === undefined ? null : {
      ...compared(against),
      kind: against.reference.kind,
      referenceScore: sign * against.reference.score,
    },
    other: other === undefined ? null : compared(other),
    seeds: Math.min(...deciding.map(({ seeds }) => seeds.length)),
  };
  const sentences = verdictSentences(verdict, {
    metric: setting.metric,
    split: setting.split,
    examples: setting.examples,
    confidence: setting.confidence,
    sign,
    constant: setting.constant?.name,
    hasOthers: otherCells.length > 0,
    haveOthersLearnt: allLearning.hasLearnt,
    seedsOfRecommended: recommended.seeds.length,
    singleSeedTitles: singleSeedTitles(deciding, sides),
  });
  return { ...verdict, ...sentences };
}

/** A cell as a verdict shows it, with its score as the metric has it. */
function verdictCell(
  { method, rank, score, means }: Cell,
  sides: readonly Side[],
  setting: Setting,
): VerdictCell {
  const { curve: { sign }, summary } = sides[method]!;
  return {
    method,
    title: methodTitle(summary),
    rank,
    score: sign * score,
    interval: scoreInterval(
      setting.metric,
      sign * score,
      means.map((mean) => sign * mean),
      setting,
    ),
  };
}

/**
 * Position of the method that a verdict is about; undefined if there is none.
 */
function judgedMethod(sides: readonly Side[]): number | undefined {
  for (const role of ["candidate", "baseline"]) {
    const index = sides.findIndex(({ summary }) =>
      summary.role === role && summary.recommendation !== null
    );
    if (index >= 0) return index;
  }
  return undefined;
}

/**
 * The first case of a verdict that holds, as {@linkcode verdictOf} lists them.
 */
function kindOf({ allLearning, ownLearning, other, bound, margin }: {
  readonly allLearning: Learning;
  readonly ownLearning: Learning;
  readonly other: Advantage | undefined;
  readonly bound: number | null;
  readonly margin: number;
}): VerdictKind {
  if (!allLearning.hasLearnt) return "nothing-learnt";
  const isOtherAbove = other !== undefined && other.gain > margin;
  if (isOtherAbove && other.interval[0] > 0) return "other-better";
  if (!ownLearning.hasLearnt) return "nothing-learnt";
  const mayRankBeBetter = bound !== null && bound > margin;
  if (mayRankBeBetter || isOtherAbove) return "too-few-examples";
  return "recommended";
}

/**
 * Interval of a metric from one of scores, which are negated where lower values
 * of the metric are better; also the inverse.
 */
function signed([low, high]: Interval, sign: 1 | -1): Interval {
  return sign === 1 ? [low, high] : [-high, -low];
}

/**
 * The cell with the largest difference to a reference, preferring those that
 * are significantly better, and by more than `least`: a mean over seeds that
 * differ much may be larger than theirs.
 */
function bestAgainst(
  cells: readonly Cell[],
  reference: Scored,
  setting: Setting,
  least = 0,
): Advantage {
  const differences = cells.map((cell) =>
    differenceOf(cell, reference, setting)
  );
  const intervals = simultaneousIntervals(differences, setting.confidence, 2);
  const advantages = cells.map((cell, i): Advantage => ({
    cell,
    gain: differences[i]!.value,
    interval: intervals[i]!,
  }));
  const significant = advantages.filter(({ gain, interval }) =>
    interval[0] > 0 && gain > least
  );
  const choices = significant.length > 0 ? significant : advantages;
  return choices.reduce((best, it) => it.gain > best.gain ? it : best);
}

/** Whether some cell exceeds each of the references. */
function learningOf(
  cells: readonly Cell[],
  references: readonly Reference[],
  setting: Setting,
): Learning {
  const advantages = references.map((reference) => ({
    ...bestAgainst(cells, reference, setting),
    reference,
  }));
  const notExceeded = advantages.find(({ interval }) => interval[0] <= 0);
  return {
    hasLearnt: notExceeded === undefined,
    against: notExceeded ?? advantages[0],
  };
}

/**
 * Upper confidence bound of the gain of any other cell over one; null if there
 * is no other.
 */
function largestGain(
  cells: readonly Cell[],
  recommended: Cell,
  setting: Setting,
): number | null {
  const rivals = cells.filter((cell) => cell !== recommended);
  if (rivals.length === 0) return null;
  const differences = rivals.map((cell) =>
    differenceOf(cell, recommended, setting)
  );
  const intervals = simultaneousIntervals(differences, setting.confidence, 1);
  return Math.max(...intervals.map(([, high]) => high));
}

/** Titles of the deciding methods with one seed, if others have several. */
function singleSeedTitles(
  deciding: readonly Cell[],
  sides: readonly Side[],
): string[] {
  const single = deciding.filter(({ seeds }) => seeds.length < FEW_SEEDS);
  if (single.length === deciding.length) return [];
  const titles = single.map(({ method }) =>
    methodTitle(sides[method]!.summary)
  );
  return [...new Set(titles)];
}

/**
 * The cells of a method whose scores are defined in every replicate; negated if
 * lower values of the metric are better.
 */
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
function referencesOf(
  sides: readonly Side[],
  { constant, metric }: Setting,
): Reference[] {
  const references: Reference[] = [];
  if (constant !== undefined) {
    references.push({ ...constant, kind: "constant", seeds: [], values: [] });
  }
  for (const kind of UNTRAINED) {
    for (const [i, side] of sides.entries()) {
      if (side.summary.method !== kind) continue;
      for (const cell of cellsOf(side, i, metric)) {
        references.unshift({ ...cell, kind });
      }
    }
  }
  return references;
}

/**
 * The bounds whose scores an adapter must exceed: the head on the frozen
 * encoder, and of embeddings the model as it is.
 */
const UNTRAINED = ["head", PRETRAINED.name] as const;

/**
 * The paired difference of two scores, with what the bootstrap leaves out of
 * its variance:
 *
 * - A resample of n seeds has (n - 1) / n of their variance.
 * - Where two methods agree on every example, the resamples do as well, however
 *   few the examples. As in the interval of Bonett and Price (2012), two
 *   examples are added, on each of which one of the two is right: 2 / (n +
 * 2)^2.
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
