import { faultsOf } from "../data/faults.ts";
import { describeValue, toNumber } from "../data/labels.ts";
import {
  exampleScorer,
  type LabelColumn,
  type Metrics,
  NUMBERS,
  type Problem,
  type ProblemKind,
  SEQUENCE,
  type Values,
} from "./problem.ts";

/** Metrics of scores, with the edge cases of SciPy. */
export const CORRELATIONS = {
  pearson,
  /**
   * Rank correlation with mean ranks for ties; NaN as in {@linkcode pearson}.
   */
  spearman: (predictions: Values, labels: Values): number =>
    pearson(ranks(predictions), ranks(labels)),
} satisfies Metrics;

/** Linear correlation; NaN if either side is constant or not finite. */
function pearson(predictions: Values, labels: Values): number {
  const a = centred(predictions);
  const b = centred(labels);
  if (a === undefined || b === undefined) return NaN;
  const product = a.reduce((sum, value, i) => sum + value * b[i]!, 0);
  return Math.max(-1, Math.min(1, product));
}

/**
 * Subtracts the mean and scales to norm 1; undefined if the values are constant
 * or not finite.
 */
function centred(values: Values): Float64Array | undefined {
  const result = Float64Array.from(values);
  const first = result[0];
  if (result.every((value) => value === first)) return undefined;
  const mean = result.reduce((sum, value) => sum + value, 0) / result.length;
  // Scaling by the largest value first keeps the squares from underflow and
  // overflow.
  const largest = result.reduce(
    (most, value) => Math.max(most, Math.abs(value - mean)),
    0,
  );
  const scaled = result.map((value) => (value - mean) / largest);
  const norm = Math.sqrt(scaled.reduce((sum, value) => sum + value ** 2, 0));
  return Number.isFinite(norm)
    ? scaled.map((value) => value / norm)
    : undefined;
}

/** Ranks from 1 with mean ranks for ties; all NaN if a value is NaN. */
export function ranks(values: Values): Float64Array {
  const order = Array.from(values, (_, i) => i)
    .sort((a, b) => values[a]! - values[b]!);
  const result = new Float64Array(values.length);
  for (let begin = 0; begin < order.length;) {
    const value = values[order[begin]!]!;
    if (Number.isNaN(value)) return result.fill(NaN);
    let end = begin;
    while (end < order.length && values[order[end]!] === value) end++;
    for (let i = begin; i < end; i++) {
      result[order[i]!] = (begin + 1 + end) / 2;
    }
    begin = end;
  }
  return result;
}

/** Each text, or pair, has a number. */
export const regression: ProblemKind & typeof SEQUENCE = {
  ...SEQUENCE,
  name: "regression",
  metrics: CORRELATIONS,
  of(labels) {
    if (labels === null) return problem;
    throw new SyntaxError('A regression has no classes: "labels" must be null');
  },
};

const problem: Problem = {
  ...regression,
  ...NUMBERS,
  inWords: (task) => `the regression "${task}"`,
  matches: () => true,

  accepts: Number.isFinite,
  loss: "squared-error",
  scorer: (name, labels) => exampleScorer(CORRELATIONS, name, labels),
  prediction: ([score]) => ({
    label: null,
    probabilities: null,
    score: score!,
  }),

  config: {
    id2label: { 0: "LABEL_0" },
    label2id: { LABEL_0: 0 },
    problem_type: "regression",
  },
  pythonOptions: 'num_labels=1, problem_type="regression"',
};

/** A column of numbers. */
export const scoreColumn: LabelColumn = {
  problem: "regression",
  namesIn: () => null,
  of: () => ({
    read({ place, values }) {
      const value = values.at(-1);
      const score = toNumber(value);
      if (!Number.isNaN(score)) return { label: score };
      throw new SyntaxError(
        `${place}: Expected a number as the label, found ${
          describeValue(value)
        }`,
      );
    },
    describe(labels) {
      const shown = (value: number) => Number(value.toPrecision(4));
      const least = labels.reduce((least, label) => Math.min(least, label));
      const most = labels.reduce((most, label) => Math.max(most, label));
      const sum = labels.reduce((sum, label) => sum + label);
      return `scores from ${shown(least)} to ${shown(most)}, mean ${
        shown(sum / labels.length)
      }`;
    },
    faults: (rows, facts) => faultsOf(rows, { ...facts, areScores: true }),
    usualMetrics: () => ["pearson", "spearman"],
  }),
};
