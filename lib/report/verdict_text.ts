import {
  capitalized,
  exactPercent,
  formatOf,
  intervalText,
  metricInWords,
  withInterval,
} from "./format.ts";
import type { Interval, Verdict, VerdictCell } from "./report.ts";

/** Facts for the sentences of a verdict, besides its numbers. */
export interface VerdictFacts {
  /** The main metric. */
  readonly metric: string;
  /** The split that is scored; `test` chooses nothing. */
  readonly split: string;
  /** Number of scored examples. */
  readonly examples: number;
  readonly confidence: number;
  /** -1 if lower values of the metric are better. */
  readonly sign: 1 | -1;
  /** Name of the constant prediction, if a verdict compares with one. */
  readonly constant: string | undefined;
  /** Whether other methods were compared. */
  readonly hasOthers: boolean;
  /**
   * Whether another adapter has learnt something, where the verdict's has not.
   */
  readonly haveOthersLearnt: boolean;
  readonly seedsOfRecommended: number;
  /** Titles of the deciding methods with one seed, if others have several. */
  readonly singleSeedTitles: readonly string[];
}

type Decision = Omit<Verdict, "headline" | "reasons">;

const REMEDY =
  "More labelled rows tell more; of your own data, -S holdout=0.3 holds out more.";

const MORE_TRAINING =
  "Train on more rows, or longer: of your own data, by a larger -S training.epochs=N. Other learning rates and alphas may help as well.";

/**
 * A verdict in two voices, as plain text: a headline for everyone, without a
 * term of statistics, and the statistics as reasons.
 */
export function verdictSentences(
  decision: Decision,
  facts: VerdictFacts,
): Pick<Verdict, "headline" | "reasons"> {
  switch (decision.kind) {
    case "nothing-learnt":
      return nothingLearnt(decision, facts);
    case "other-better":
      return otherBetter(decision, facts);
    case "too-few-examples":
      return tooFewExamples(decision, facts);
    case "recommended":
      return recommended(decision, facts);
  }
}

function recommended(decision: Decision, facts: VerdictFacts) {
  const caveat = decision.bound === null
    ? ""
    : "; no other rank is better by an amount that matters";
  return {
    headline: `${useText(decision, facts)}${caveat}.`,
    reasons: [
      ...scoreText(decision, facts),
      ...trainingText(decision, facts),
      boundText(decision, facts),
      ...otherText(decision, facts),
      ...seedsText(decision, facts),
    ],
  };
}

function tooFewExamples(decision: Decision, facts: VerdictFacts) {
  const { bound, margin, other } = decision;
  const use = useText(decision, facts);
  if (bound === null || bound <= margin) {
    return {
      headline: `${use}; whether ${
        other!.title
      } is better cannot be told with so few rows.`,
      reasons: [
        ...scoreText(decision, facts),
        ...trainingText(decision, facts),
        boundText(decision, facts),
        ...otherText(decision, facts),
        ...seedsText(decision, facts),
        REMEDY,
      ],
    };
  }
  const { value, amount, exact, factor, digits } = formatOf(facts.metric);
  // With the usual digits, the bound may look like the margin that it exceeds.
  const isClose = value(bound) === value(margin);
  const shownDigits = isClose ? digits + 1 : digits;
  const most = amount(bound, (it) => (factor * it).toFixed(shownDigits));
  return {
    headline: `${use}; other ranks cannot be told apart with so few rows.`,
    reasons: [
      ...scoreText(decision, facts),
      ...trainingText(decision, facts),
      `On ${facts.examples} examples, another rank may be better by up to ${most} (${
        levelText(facts)
      } confidence), more than the margin of ${amount(margin, exact)}.`,
      ...otherText(decision, facts),
      ...seedsText(decision, facts),
      REMEDY,
    ],
  };
}

function otherBetter(decision: Decision, facts: VerdictFacts) {
  const other = decision.other!;
  const { best, recommended } = decision;
  const { title } = recommended;
  const { signed } = formatOf(facts.metric);
  const difference = withInterval(
    other.difference,
    other.differenceInterval,
    signed,
  );
  return {
    headline: `${other.title} is better here: at rank ${other.rank} ${
      achievement(other, facts)
    }, with ${title} at most ${shortAchievement(best, facts)}.`,
    reasons: [
      `${
        capitalized(metricInWords(facts.metric))
      } of ${other.title} at rank ${other.rank}: ${
        valueText(other, facts)
      }; of ${title} at its best rank (${best.rank}): ${
        valueText(best, facts)
      }. The difference is ${difference}${pointsOf(facts)}.`,
      `The recommended rank of ${title} is ${recommended.rank}.`,
      ...seedsText(decision, facts),
    ],
  };
}

function nothingLearnt(decision: Decision, facts: VerdictFacts) {
  const reference = decision.reference!;
  const { title } = decision.recommended;
  const beyond = reference.kind === "head" ? " beyond the head" : "";
  const than = {
    constant: facts.constant!,
    head: "the head on the frozen encoder",
    pretrained: "the model without an adapter",
  }[reference.kind];
  // The interval leaves room for a gain that matters.
  const [low, high] = reference.differenceInterval;
  const mostGained = facts.sign === 1 ? high : -low;
  const isOpen = mostGained > decision.margin;
  const { signed, inWords } = formatOf(facts.metric);
  const difference = withInterval(
    reference.difference,
    reference.differenceInterval,
    signed,
  );
  const of = facts.haveOthersLearnt ? ` of ${title}` : "";
  const certainly = isOpen ? "not certainly" : "not";
  return {
    headline: isOpen
      ? undecidedText(beyond, facts, title)
      : notBetterText(than, facts, title),
    reasons: [
      `The best score${of}, ${metricInWords(facts.metric)} ${
        valueText(reference, facts)
      } (${reference.title} at rank ${reference.rank}), is ${certainly} above the ${
        inWords(reference.referenceScore)
      } of ${than}: ${difference}${
        pointsOf(facts)
      } on ${facts.examples} examples.`,
      ...(facts.haveOthersLearnt ? otherText(decision, facts) : []),
      ...isOpen ? [REMEDY] : [],
      MORE_TRAINING,
    ],
  };
}

/**
 * That an adapter does not exceed what it must.
 *
 * @param title Of the method
 */
function notBetterText(
  than: string,
  { split, haveOthersLearnt }: VerdictFacts,
  title: string,
): string {
  const it = haveOthersLearnt ? title : "the adapter";
  return split === TEST
    ? `On the test set, ${it} is not better than ${than}.`
    : `No rank is recommended: ${it} is not better than ${than}.`;
}

/**
 * That it cannot be told whether an adapter has learnt something.
 *
 * @param beyond ` beyond the head`, or empty
 * @param title Of the method
 */
function undecidedText(
  beyond: string,
  { split, haveOthersLearnt }: VerdictFacts,
  title: string,
): string {
  const what = haveOthersLearnt
    ? `${title} learnt anything`
    : "anything was learnt";
  return split === TEST
    ? `The test set has too few rows to tell whether ${what}${beyond}.`
    : `No rank is recommended: too few rows to tell whether ${what}${beyond}.`;
}

/** The split that is scored once a rank has been chosen. */
const TEST = "test";

/** What to use and what it achieves, as the start of a headline. */
function useText(
  { recommended, bound }: Decision,
  facts: VerdictFacts,
): string {
  const { rank, title } = recommended;
  const achieved = achievement(recommended, facts);
  const isChosen = bound !== null || facts.hasOthers;
  if (facts.split === TEST && !isChosen) return `At rank ${rank}, ${achieved}`;
  const of = facts.hasOthers ? ` of ${title}` : "";
  return `Use rank ${rank}${of}: ${achieved}`;
}

/** `held-out rows`, or those of a test set. */
function rowsText({ split }: VerdictFacts): string {
  return split === TEST ? "test rows" : "held-out rows";
}

/** `147 of 147 held-out rows are right`, or what the metric is. */
function achievement(cell: VerdictCell, facts: VerdictFacts): string {
  if (facts.metric !== "accuracy") {
    const { inWords } = formatOf(facts.metric);
    return `the ${metricInWords(facts.metric)} is ${
      inWords(cell.score)
    } on the ${rowsText(facts)}`;
  }
  const average = facts.seedsOfRecommended > 1 ? "on average " : "";
  return `${average}${rightRows(cell, facts)} of ${facts.examples} ${
    rowsText(facts)
  } are right`;
}

/** `145`, or the metric. */
function shortAchievement(cell: VerdictCell, facts: VerdictFacts): string {
  return facts.metric === "accuracy"
    ? String(rightRows(cell, facts))
    : formatOf(facts.metric).inWords(cell.score);
}

/** Number of examples that are right, of an accuracy. */
function rightRows({ score }: VerdictCell, { examples }: VerdictFacts): number {
  return Math.round(score * examples);
}

/** `90.5 % [86.0, 94.5]` */
function valueText(
  { score, interval }: VerdictCell,
  { metric }: VerdictFacts,
): string {
  const { value, inWords } = formatOf(metric);
  return inWords(score) + intervalText(interval, value);
}

/** The score of the recommended rank with its interval. */
function scoreText({ recommended }: Decision, facts: VerdictFacts): string[] {
  const metric = capitalized(metricInWords(facts.metric));
  const { title, rank, score, interval } = recommended;
  const { value, inWords } = formatOf(facts.metric);
  const shown = interval === null
    ? ""
    : `, ${levelText(facts)} interval${intervalText(interval, value)}`;
  return [`${metric} of ${title} at rank ${rank}: ${inWords(score)}${shown}.`];
}

/**
 * What training brings over the model without an adapter, if that is scored.
 */
function trainingText({ reference }: Decision, facts: VerdictFacts): string[] {
  if (reference?.kind !== "pretrained") return [];
  const { signed, inWords } = formatOf(facts.metric);
  const gain = withInterval(
    reference.difference,
    reference.differenceInterval,
    signed,
  );
  return [
    `The model without an adapter has ${
      inWords(reference.referenceScore)
    }; ${reference.title} at rank ${reference.rank} brings ${gain}${
      pointsOf(facts)
    }.`,
  ];
}

/** How much better another rank may be, which is within the margin. */
function boundText({ bound, margin }: Decision, facts: VerdictFacts): string {
  const { amount, exact } = formatOf(facts.metric);
  if (bound === null) return "No other rank was evaluated.";
  const acceptable = `a loss of ${amount(margin, exact)} is acceptable`;
  const level = `${levelText(facts)} confidence`;
  if (bound < 0) {
    return `No other rank is as good (${level}), and ${acceptable}.`;
  }
  const by = bound === 0 ? "" : ` by more than ${amount(bound)}`;
  return `No other rank is better${by} (${level}), and ${acceptable}.`;
}

/** The best of the other methods against this one. */
function otherText(
  { other, best, recommended }: Decision,
  facts: VerdictFacts,
): string[] {
  if (other === null) return [];
  const { signed } = formatOf(facts.metric);
  const by = withInterval(other.difference, other.differenceInterval, signed);
  const mayBeChance = other.difference !== 0 &&
    containsZero(other.differenceInterval);
  const chance = mayBeChance ? ", which may be due to chance" : "";
  return [
    `${other.title} at its best rank (${other.rank}) has ${
      valueText(other, facts)
    }: ${by}${
      pointsOf(facts)
    } against the best rank of ${recommended.title} (${best.rank})${chance}.`,
  ];
}

function containsZero([low, high]: Interval) {
  return low <= 0 && high >= 0;
}

/** A warning of a single seed. */
function seedsText({ seeds }: Decision, facts: VerdictFacts): string[] {
  if (seeds > 1) return [];
  const titles = facts.singleSeedTitles;
  const of = titles.length === 0 ? "" : ` of ${titles.join(" and ")}`;
  return [
    `There is only one seed${of}: the verdict holds for these trainings, and other seeds may differ.`,
  ];
}

function levelText({ confidence }: VerdictFacts): string {
  return `${exactPercent(confidence)} %`;
}

/** The unit of a difference. */
function pointsOf({ metric }: VerdictFacts): string {
  return formatOf(metric).factor === 100 ? " points" : "";
}
