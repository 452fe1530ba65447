/**
 * Metrics of texts that have any number of labels, as scikit-learn computes
 * them with `zero_division=0`. Each adds up statistics of units, so that the
 * bootstrap adds up those of the units that it draws.
 */
import {
  metricNamed,
  type Scorer,
  summedScorer,
  type Values,
} from "./problem.ts";

/** A metric: the statistics of a unit, and the score by their sums. */
interface SummedMetric {
  /** Numbers in the statistics of a unit, by the number of labels. */
  width(labels: number): number;
  /**
   * The statistics of a unit.
   *
   * @param marked Whether each label is predicted
   * @param labelled Whether the unit has each label
   * @param scores What predicts each label: higher is more likely
   */
  statistics(
    marked: readonly boolean[],
    labelled: readonly boolean[],
    scores: readonly number[],
  ): readonly number[];
  /** @param sums Of the statistics, over the units */
  score(sums: readonly number[]): number;
}

/**
 * F1 by counts: of labels that are predicted and right, predicted, labelled.
 */
function f1(hits: number, predicted: number, labelled: number): number {
  return predicted + labelled === 0 ? 0 : 2 * hits / (predicted + labelled);
}

/**
 * Hits, predictions and occurrences of each label, one label after the other.
 */
const BY_LABEL: Pick<SummedMetric, "width" | "statistics"> = {
  width: (labels) => 3 * labels,
  statistics: (marked, labelled) =>
    marked.flatMap((it, label) => [
      Number(it && labelled[label]!),
      Number(it),
      Number(labelled[label]!),
    ]),
};

/** F1 of each label, and in how many units it occurs. */
function scoresByLabel(
  sums: readonly number[],
): { readonly score: number; readonly support: number }[] {
  const scores = [];
  for (let i = 0; i < sums.length; i += 3) {
    const support = sums[i + 2]!;
    scores.push({ score: f1(sums[i]!, sums[i + 1]!, support), support });
  }
  return scores;
}

/** One number for each unit, of which the metric is the mean. */
function meanOf(
  valueOf: (...unit: Parameters<SummedMetric["statistics"]>) => number,
): SummedMetric {
  return {
    width: () => 2,
    statistics: (...unit) => [valueOf(...unit), 1],
    score: ([sum, units]) => sum! / units!,
  };
}

/** Metrics by name. */
export const MULTI_LABEL_METRICS: Readonly<Record<string, SummedMetric>> = {
  /** F1 of all pairs of a unit and a label. */
  micro_f1: {
    width: () => 3,
    statistics: (marked, labelled) => [
      marked.filter((it, label) => it && labelled[label]).length,
      marked.filter((it) => it).length,
      labelled.filter((it) => it).length,
    ],
    score: ([hits, predicted, labelled]) => f1(hits!, predicted!, labelled!),
  },

  /** Mean F1 of all labels, also of those that do not occur. */
  macro_f1: {
    ...BY_LABEL,
    score(sums) {
      const scores = scoresByLabel(sums);
      return scores.reduce((sum, { score }) => sum + score, 0) / scores.length;
    },
  },

  /** Mean F1 of the labels, weighted by the units that have them. */
  weighted_f1: {
    ...BY_LABEL,
    score(sums) {
      const scores = scoresByLabel(sums);
      const total = scores.reduce((sum, { support }) => sum + support, 0);
      const sum = scores.reduce(
        (sum, { score, support }) => sum + score * support,
        0,
      );
      return total === 0 ? 0 : sum / total;
    },
  },

  /** Share of the units whose labels are all predicted, and no others. */
  subset_accuracy: meanOf((marked, labelled) =>
    Number(marked.every((it, label) => it === labelled[label]))
  ),

  /** Share of pairs of a unit and a label that are wrong. */
  hamming_loss: meanOf((marked, labelled) =>
    marked.filter((it, label) => it !== labelled[label]).length / marked.length
  ),

  /**
   * Label ranking average precision: of the labels of a unit, the mean share of
   * them among those that score at least as high; 1 for a unit that has none
   * or all.
   */
  lrap: meanOf((_marked, labelled, scores) => {
    const ofLabels = scores.filter((_, label) => labelled[label]);
    if (ofLabels.length === 0 || ofLabels.length === scores.length) return 1;
    let sum = 0;
    for (const score of ofLabels) {
      const reaches = (it: number) => it >= score;
      sum += ofLabels.filter(reaches).length / scores.filter(reaches).length;
    }
    return sum / ofLabels.length;
  }),
};

/** Those of which lower values are better. */
export const LOWER_METRICS = ["hamming_loss"];

/**
 * Scores predictions by one of the metrics.
 *
 * @param labels 0 or 1, `[units, classes]`, flat
 * @param threshold Probability from which a label is predicted
 */
export function multiLabelScorer(
  name: string,
  labels: Values,
  classes: number,
  threshold: number,
): Scorer {
  const metric = metricNamed(MULTI_LABEL_METRICS, name);
  const units = labels.length / classes;
  const rowOf = (values: Values, unit: number) =>
    Array.from({ length: classes }, (_, i) => values[unit * classes + i]!);
  const labelled = Array.from(
    { length: units },
    (_, unit) => rowOf(labels, unit).map((mark) => mark === 1),
  );
  const width = metric.width(classes);
  const statisticsOf = (predictions: Values) => {
    const statistics = new Float64Array(units * width);
    for (const [unit, marks] of labelled.entries()) {
      const scores = rowOf(predictions, unit);
      const marked = scores.map((score) => score >= threshold);
      const ofUnit = metric.statistics(marked, marks, scores);
      statistics.set(ofUnit, unit * width);
    }
    return statistics;
  };
  return summedScorer({ units, width }, statisticsOf, metric.score);
}
