import { faultsOf } from "../data/faults.ts";
import {
  className,
  describeValue,
  doubtOf,
  MAX_CLASSES,
} from "../data/labels.ts";
import { SettingError } from "../data/setting_error.ts";
import type { Row } from "../data/columns.ts";
import { quote, quoteAll } from "../data/text_file.ts";
import {
  count,
  exampleScorer,
  type LabelColumn,
  type Metrics,
  ONE_NUMBER,
  type Prediction,
  type Problem,
  type ProblemKind,
  SEQUENCE,
  type Values,
} from "./problem.ts";

/** Metrics of class numbers, with the edge cases of scikit-learn. */
const metrics: Metrics = {
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
    let both = 0;
    let squaredPredicted = 0;
    let squaredActual = 0;
    for (const label of classesIn(predictions, labels)) {
      const predicted = count(predictions, (it) => it === label);
      const actual = count(labels, (it) => it === label);
      both += predicted * actual;
      squaredPredicted += predicted ** 2;
      squaredActual += actual ** 2;
    }
    const hits = count(labels, (label, i) => label === predictions[i]);
    const variance = (examples ** 2 - squaredPredicted) *
      (examples ** 2 - squaredActual);
    return variance === 0 ? 0 : (hits * examples - both) / Math.sqrt(variance);
  },
};

/** Harmonic mean of precision and recall of a class; 0 if it never occurs. */
function f1(predictions: Values, labels: Values, label: number): number {
  const hits = count(
    labels,
    (it, i) => it === label && predictions[i] === label,
  );
  const marked = count(labels, (it) => it === label) +
    count(predictions, (it) => it === label);
  return marked === 0 ? 0 : 2 * hits / marked;
}

/**
 * The classes that are labels or predictions, in a fixed order, on which
 * rounding depends.
 */
function classesIn(...lists: readonly Values[]): number[] {
  const classes = new Set<number>();
  for (const values of lists) {
    let last: number | undefined;
    for (let i = 0; i < values.length; i++) {
      if (values[i] === last) continue;
      last = values[i]!;
      classes.add(last);
    }
  }
  return [...classes].sort();
}

/** Each text, or pair, has one of some classes. */
export const classification: ProblemKind & typeof SEQUENCE = {
  ...SEQUENCE,
  name: "classification",
  metrics,
  of(classes) {
    if (classes === null) {
      throw new SyntaxError(
        'A classification requires the names of its classes: "labels" is null',
      );
    }
    return withClasses(classes);
  },
};

function withClasses(classes: readonly string[]): Problem {
  const outputs = classes.length;
  /** The largest, the first on a tie. */
  const predicted = (row: Float32Array) =>
    row.reduce((best, it, i) => it > row[best]! ? i : best, 0);
  return {
    ...classification,
    ...ONE_NUMBER,
    classes,
    inWords: (task) => `"${task}" with the classes ${classes.join(", ")}`,
    matches({ labels }) {
      const others = labels ?? [];
      if (others.length !== outputs) return false;
      return areNumbered(classes) || areNumbered(others) ||
        classes.every((label, i) => label === others[i]);
    },

    accepts: (value) => value in classes,

    outputs,
    loss: "cross-entropy",
    balancedWeights: (labels) => balancedWeights(labels, outputs),
    targetsOf: (logits) =>
      Float32Array.from(rowsOf(logits, outputs).flatMap(softmax)),

    predictions: (logits) =>
      Float32Array.from(rowsOf(logits, outputs), predicted),
    scorer: (name, labels) => exampleScorer(metrics, name, labels),
    prediction(logits): Prediction {
      const probabilities = softmax(logits);
      return {
        label: classes[predicted(logits)]!,
        probabilities: Object.fromEntries(
          classes.map((label, i) => [label, probabilities[i]!]),
        ),
        score: null,
      };
    },

    config: {
      id2label: Object.fromEntries(classes.map((name, i) => [i, name])),
      label2id: Object.fromEntries(classes.map((name, i) => [name, i])),
      problem_type: "single_label_classification",
    },
    pythonOptions: `id2label={${
      classes.map((label, id) => `${id}: ${JSON.stringify(label)}`).join(", ")
    }}`,
  };
}

/** Names of classes of which only the number is known. */
export function numberedClasses(outputs: number): string[] {
  return Array.from({ length: outputs }, (_, i) => `LABEL_${i}`);
}

/** True for the names of {@linkcode numberedClasses}, and for none at all. */
export function areNumbered(classes: readonly string[]): boolean {
  return classes.every((name, i) => name === `LABEL_${i}`);
}

/** Logits of each unit, `[units][outputs]`. */
function rowsOf(logits: Float32Array, outputs: number): Float32Array[] {
  return Array.from(
    { length: logits.length / outputs },
    (_, i) => logits.subarray(i * outputs, (i + 1) * outputs),
  );
}

/** Probability of the most probable class of each unit, `[units]`. */
export function confidencesOf(
  logits: Float32Array,
  outputs: number,
): Float64Array {
  return Float64Array.from(
    rowsOf(logits, outputs),
    (row) => Math.max(...softmax(row)),
  );
}

/** Number of examples of each class. */
function countsOf(labels: Values, classes: number): number[] {
  return Array.from(
    { length: classes },
    (_, label) => count(labels, (it) => it === label),
  );
}

/**
 * Weights of classes, as scikit-learn's `compute_class_weight("balanced")`:
 * examples / (classes * examples of the class); 0 for a class without examples,
 * which is not counted.
 *
 * @param labels Class numbers, `[examples]`
 */
function balancedWeights(labels: Values, classes: number): number[] {
  const counts = countsOf(labels, classes);
  const present = counts.filter((it) => it > 0).length;
  return counts.map((it) => it === 0 ? 0 : labels.length / (present * it));
}

/**
 * Probabilities of classes.
 *
 * @param logits `[classes]`
 * @returns `[classes]`
 */
function softmax(logits: Float32Array): number[] {
  const largest = Math.max(...logits);
  const weights = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** A column of classes. */
export const classColumn: LabelColumn = {
  problem: "classification",
  namesIn,
  of: (classes) => ({
    read(row) {
      const name = readClass(row);
      const label = classes.indexOf(name);
      if (label >= 0) return { label };
      throw new SyntaxError(
        `${row.place}: Label ${quote(name)} is not one of the classes (${
          quoteAll(classes)
        })`,
      );
    },
    describe: (labels) => describe(classes, countsOf(labels, classes.length)),
    faults: (rows, facts) => faultsOf(rows, { ...facts, areScores: false }),
    strata: ({ label }) => [label!],
    usualMetrics(labels) {
      const counts = countsOf(labels, classes.length);
      const areUneven = Math.max(...counts) > 2 * Math.min(...counts);
      return [
        "accuracy",
        ...classes.length === 2 ? ["f1"] : [],
        ...areUneven ? ["f1_macro"] : [],
      ];
    },
  }),
};

/**
 * The classes of a table: in numerical order if all are integers, otherwise in
 * alphabetical order.
 *
 * @throws {SyntaxError} If there are too few or too many, if the labels look
 * like numbers to predict, or if one is missing
 */
function namesIn(rows: readonly Row[]): string[] {
  const names = new Set(rows.map(readClass));
  const doubt = names.size < 2 || names.size > MAX_CLASSES
    ? `The labels have different values: ${names.size}, expected 2 to ${MAX_CLASSES} classes`
    : doubtOf(names, rows.length);
  if (doubt !== undefined) {
    const last = rows.at(-1)?.place ?? "none";
    throw new SettingError(
      `${doubt}; to predict a number, -S regression=true; if these are classes, list them by -S classes=[...] (last row: ${last})`,
      { name: "regression", value: "true" },
    );
  }
  const sorted = [...names].sort();
  return sorted.every((name) => /^-?\d{1,15}$/.test(name))
    ? sorted.sort((a, b) => Number(a) - Number(b))
    : sorted;
}

function readClass({ place, values }: Row): string {
  const value = values.at(-1);
  const name = className(value);
  if (name !== undefined) return name;
  const hint = Number.isFinite(value)
    ? ", which is not exact as a number: write it in quotes"
    : "";
  throw new SyntaxError(
    `${place}: Expected a label, found ${describeValue(value)}${hint}`,
  );
}

/** Maximum number of classes whose counts a line shows. */
const MAX_COUNTS = 10;

function describe(classes: readonly string[], counts: readonly number[]) {
  const all = classes.map((name, i) => `${quote(name)} ${counts[i]}`);
  if (all.length <= MAX_COUNTS) {
    return `${all.length} classes: ${all.join(", ")}`;
  }
  const least = counts.indexOf(Math.min(...counts));
  const most = counts.indexOf(Math.max(...counts));
  return `${all.length} classes, from ${all[least]} to ${all[most]}`;
}
