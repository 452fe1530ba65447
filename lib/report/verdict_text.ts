import {
  exactPercent,
  metricInWords,
  percent,
  points,
  signed,
  withInterval,
} from "./format.ts";
import type { Verdict } from "./report.ts";
import {
  decide,
  type Decision,
  FEW_SEEDS,
  type Setting,
  type Side,
} from "./verdict.ts";

/** {@linkcode decide}, with the sentences that say it. */
export function verdictOf(
  sides: readonly Side[],
  setting: Setting,
): Verdict | null {
  const decision = decide(sides, setting);
  if (decision === null) return null;
  const { single: _1, othersLearnt: _2, ...verdict } = decision;
  return { ...verdict, ...verdictText(decision, setting) };
}

/** The verdict as a headline and the sentences that support it, in plain text. */
function verdictText(
  decision: Decision,
  { examples, classes, confidence, ...setting }: Setting,
): Pick<Verdict, "headline" | "reasons"> {
  const { kind, recommended, best, margin, bound, reference, other } = decision;
  const { single, othersLearnt } = decision;
  const scoreOf = ({ score, interval }: typeof best) =>
    withInterval(score, interval);
  const { title } = recommended;
  const metric = metricInWords(setting.metric);
  const acceptable = points(margin, exactPercent);
  const level = `${exactPercent(confidence)} %`;
  const seeds = decision.seeds < FEW_SEEDS
    ? [
      `There is only one seed${
        single.length === 0 ? "" : ` of ${single.join(" and ")}`
      }: the verdict holds for these trainings, and other seeds may differ.`,
    ]
    : [];
  const otherText = other === null ? [] : [
    `${other.title} at its best rank (${other.rank}) scores ${
      scoreOf(other)
    }: ${
      withInterval(other.difference, other.differenceInterval, signed)
    } against the best rank of ${title} (${best.rank})${
      other.difference !== 0 && other.differenceInterval[0] <= 0 &&
        other.differenceInterval[1] >= 0
        ? ", which may be due to chance"
        : ""
    }.`,
  ];
  const use = `Use rank ${recommended.rank} of ${title}: ${metric} ${
    scoreOf(recommended)
  }.`;
  const remedy =
    "More labelled rows tell more; of your own data, -S holdout=0.3 holds out more.";
  const enough = bound === null
    ? "No other rank was evaluated."
    : recommended.score === 1
    ? "No other rank can score more."
    : `${
      bound < 0
        ? "No other rank is as good"
        : bound === 0
        ? "No other rank is better"
        : `No other rank is better by more than ${points(bound)}`
    } (${level} confidence), and a loss of ${acceptable} is acceptable.`;
  switch (kind) {
    case "nothing-learnt": {
      const { difference, differenceInterval } = reference;
      const than = reference.kind === "head"
        ? "the head on the frozen encoder"
        : `always predicting the same ${classes ? "class" : "number"}`;
      const beyond = reference.kind === "head" ? " beyond the head" : "";
      const [nothing, anything, score] = othersLearnt
        ? [`${title} learnt nothing`, `${title} learnt anything`, `of ${title}`]
        : ["Nothing was learnt", "anything was learnt", ""];
      // The interval leaves room for a gain that matters.
      const isOpen = differenceInterval[1] > margin;
      return {
        headline: isOpen
          ? `Too few examples to tell whether ${anything}${beyond}.`
          : `${nothing}${beyond}.`,
        reasons: [
          `The best score${score && ` ${score}`}, ${
            scoreOf(reference)
          } (${reference.title} at rank ${reference.rank}), is ${
            isOpen ? "not certainly" : "not"
          } above the ${
            percent(reference.referenceScore)
          } of ${than}: ${metric} ${
            withInterval(difference, differenceInterval, signed)
          } on ${examples} examples.`,
          ...(othersLearnt ? otherText : []),
          isOpen ? remedy : "Try a lower learning rate or more epochs.",
        ],
      };
    }
    case "other-better": {
      const { rank, difference, differenceInterval } = other!;
      return {
        headline: `${other!.title} is better here by ${
          withInterval(difference, differenceInterval)
        } points of ${metric}.`,
        reasons: [
          `${other!.title} has ${metric} ${
            scoreOf(other!)
          } at rank ${rank}, ${title} at most ${
            scoreOf(best)
          }, at rank ${best.rank}.`,
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
      const isClose = percent(bound) === percent(margin);
      const most = points(bound, (it) => (100 * it).toFixed(isClose ? 2 : 1));
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
