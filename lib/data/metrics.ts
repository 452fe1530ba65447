/** Scores predictions against labels, both `[examples]`; higher is better. */
export type Metric = (predictions: Values, labels: Values) => number;

type Values = ArrayLike<number>;

/**
 * Metrics by name, with the edge cases of scikit-learn and SciPy.
 *
 * The first four compare class numbers, the others scores.
 */
export const METRICS = {
  /** Fraction of predictions that equal their label. */
  accuracy: (predictions, labels) =>
    count(labels, (label, i) => label === predictions[i]) / labels.length,

  /** F1 of class 1. */
  f1: (predictions, labels) => f1(predictions, labels, 1),

  /** Mean F1 of the classes that are labels or predictions. */
  f1_macro(predictions, labels) {
    const scores = classesIn(predictions, labels)
      .map((it) => f1(predictions, labels, it));
    return scores.reduce((sum, score) => sum + score, 0) / scores.length;
  },

  /**
   * Matthews correlation for any number of classes (Gorodkin 2004); 0 if all
   * predictions or all labels are equal.
   */
  matthews(predictions, labels) {
    const examples = labels.length;
    let [both, squaredPredicted, squaredActual] = [0, 0, 0];
    for (const of of classesIn(predictions, labels)) {
      const predicted = count(predictions, (it) => it === of);
      const actual = count(labels, (it) => it === of);
      both += predicted * actual;
      squaredPredicted += predicted ** 2;
      squaredActual += actual ** 2;
    }
    const hits = count(labels, (label, i) => label === predictions[i]);
    const variance = (examples ** 2 - squaredPredicted) *
      (examples ** 2 - squaredActual);
    return variance === 0 ? 0 : (hits * examples - both) / Math.sqrt(variance);
  },

  pearson,

  /** Rank correlation with mean ranks for ties; NaN as in {@linkcode pearson}. */
  spearman: (predictions, labels) => pearson(ranks(predictions), ranks(labels)),
} as const satisfies Record<string, Metric>;

/** Name of a metric, as in artifacts. */
export type MetricName = keyof typeof METRICS;

/**
 * Metrics of data that no benchmark scores, by the kind of their labels; the
 * main metric first. Macro F1 is one of them if the largest class has more than
 * twice as many examples as the smallest.
 *
 * @param labels Class names; null for a regression.
 * @param given Class number of each example
 */
export function usualMetrics(
  labels: readonly string[] | null,
  given: Values,
): MetricName[] {
  if (labels === null) return ["pearson", "spearman"];
  const counts = labels.map((_, label) => count(given, (it) => it === label));
  const areUneven = Math.max(...counts) > 2 * Math.min(...counts);
  return [
    "accuracy",
    ...labels.length === 2 ? ["f1"] as const : [],
    ...areUneven ? ["f1_macro"] as const : [],
  ];
}

/**
 * Computes metrics by name.
 *
 * @returns Value by name; NaN if undefined (null in JSON).
 * @throws {RangeError} If there are no examples, or a different number of predictions.
 */
export function computeMetrics(
  names: readonly MetricName[],
  predictions: Values,
  labels: Values,
): Partial<Record<MetricName, number>> {
  if (predictions.length !== labels.length || labels.length === 0) {
    throw new RangeError(
      `Cannot compare ${predictions.length} predictions with ${labels.length} labels`,
    );
  }
  return Object.fromEntries(
    names.map((name) => [name, METRICS[name](predictions, labels)]),
  );
}

/** Harmonic mean of precision and recall of a class; 0 if it never occurs. */
function f1(predictions: Values, labels: Values, of: number): number {
  const hits = count(labels, (it, i) => it === of && predictions[i] === of);
  const marked = count(labels, (it) => it === of) +
    count(predictions, (it) => it === of);
  return marked === 0 ? 0 : 2 * hits / marked;
}

/** The classes that are labels or predictions, in a fixed order, on which rounding depends. */
function classesIn(...values: readonly Values[]): number[] {
  return [...new Set(values.flatMap((it) => Array.from(it)))].sort();
}

/** Linear correlation; NaN if either side is constant or not finite. */
function pearson(predictions: Values, labels: Values): number {
  const a = centred(predictions);
  const b = centred(labels);
  if (a === undefined || b === undefined) return NaN;
  let product = 0;
  for (let i = 0; i < a.length; i++) product += a[i]! * b[i]!;
  return Math.max(-1, Math.min(1, product));
}

/** Subtracts the mean and scales to norm 1; undefined if the values are constant or not finite. */
function centred(values: Values): Float64Array | undefined {
  const result = Float64Array.from(values);
  const first = result[0];
  if (result.every((value) => value === first)) return undefined;
  const mean = result.reduce((sum, value) => sum + value, 0) / result.length;
  // Scaling by the largest value first keeps the squares from underflow and overflow.
  const largest = result.reduce(
    (most, value) => Math.max(most, Math.abs(value - mean)),
    0,
  );
  let squares = 0;
  for (let i = 0; i < result.length; i++) {
    result[i] = (result[i]! - mean) / largest;
    squares += result[i]! ** 2;
  }
  const norm = Math.sqrt(squares);
  return Number.isFinite(norm)
    ? result.map((value) => value / norm)
    : undefined;
}

/** Ranks from 1 with mean ranks for ties; all NaN if a value is NaN. */
function ranks(values: Values): Float64Array {
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

function count(
  values: Values,
  test: (value: number, i: number) => boolean,
): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) if (test(values[i]!, i)) total++;
  return total;
}

/**
 * Predictions of a model: the class with the largest logit, the first on a tie;
 * for a single output, the output itself.
 *
 * @param logits `[examples, outputs]`
 * @returns `[examples]`
 */
export function predictionsOf(
  logits: Float32Array,
  outputs: number,
): Float32Array {
  if (outputs === 1) return logits;
  const predictions = new Float32Array(logits.length / outputs);
  for (let i = 0; i < predictions.length; i++) {
    let best = 0;
    for (let output = 1; output < outputs; output++) {
      if (logits[i * outputs + output]! > logits[i * outputs + best]!) {
        best = output;
      }
    }
    predictions[i] = best;
  }
  return predictions;
}

/**
 * Probabilities of classes.
 *
 * @param logits `[classes]`
 * @returns `[classes]`
 */
export function softmax(logits: Float32Array): number[] {
  const largest = Math.max(...logits);
  const weights = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}
