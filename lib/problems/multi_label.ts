import { classification } from "./classification.ts";
import { labelListColumn } from "./label_lists.ts";
import {
  LOWER_METRICS,
  MULTI_LABEL_METRICS,
  multiLabelScorer,
} from "./multi_label_metrics.ts";
import type {
  Prediction,
  Problem,
  ProblemDetails,
  ProblemKind,
  Values,
} from "./problem.ts";
import { SEQUENCE } from "./problem.ts";

/** Probability from which a label is predicted, unless another is given. */
export const THRESHOLD = 0.5;

/** Thresholds of which the best is chosen: 0.05, 0.10 and so on to 0.95. */
const THRESHOLDS = Array.from({ length: 19 }, (_, i) => (i + 1) / 20);

/** Each text, or pair, has any number of labels, or none. */
export const multiLabel: ProblemKind & typeof SEQUENCE = {
  ...SEQUENCE,
  name: labelListColumn.problem,
  metrics: MULTI_LABEL_METRICS,
  lower: LOWER_METRICS,
  of(classes, details) {
    if (classes === null) {
      throw new SyntaxError(
        'A problem of several labels requires their names: "labels" is null',
      );
    }
    return withClasses(classes, details);
  },
};

function withClasses(
  classes: readonly string[],
  { threshold = THRESHOLD }: ProblemDetails = {},
): Problem {
  const outputs = classes.length;
  const ofClasses = classification.of(classes);
  return {
    ...ofClasses,
    ...multiLabel,
    inWords: (task) => `"${task}" with any of the labels ${classes.join(", ")}`,
    width: outputs,
    predictionWidth: outputs,
    units: (labels) => labels.length / outputs,
    accepts: (value) => value === 0 || value === 1,

    loss: "binary-cross-entropy",
    balancedWeights: (labels) => positiveWeights(labels, outputs),
    targetsOf: probabilitiesOf,

    predictions: probabilitiesOf,
    threshold,
    bestThreshold(metric, predictions, labels) {
      const sign = LOWER_METRICS.includes(metric) ? -1 : 1;
      const scores = THRESHOLDS.map((it) => {
        const score = multiLabelScorer(metric, labels, outputs, it)();
        const sum = predictions.reduce((sum, ofRank) => sum + score(ofRank), 0);
        return sign * sum / predictions.length;
      });
      const best = scores.indexOf(Math.max(...scores));
      return { value: THRESHOLDS[best]!, score: sign * scores[best]! };
    },
    scorer: (name, labels) =>
      multiLabelScorer(name, labels, outputs, threshold),
    prediction(logits): Prediction {
      const probabilities = probabilitiesOf(logits);
      const entries = classes.map((name, i) => [name, probabilities[i]!]);
      return {
        label: null,
        labels: classes.filter((_, i) => probabilities[i]! >= threshold),
        probabilities: Object.fromEntries(entries),
        score: null,
      };
    },

    config: {
      ...ofClasses.config,
      problem_type: "multi_label_classification",
    },
    pythonOptions:
      `${ofClasses.pythonOptions}, problem_type="multi_label_classification"`,
  };
}

/** Number of units that have each label. */
function countsOf(labels: Values, classes: number): number[] {
  const counts = Array<number>(classes).fill(0);
  for (let i = 0; i < labels.length; i++) counts[i % classes]! += labels[i]!;
  return counts;
}

/**
 * Weights of positive targets, as PyTorch's `pos_weight` is mostly chosen: for
 * each label, the units without it for one that has it; 1 for a label that no
 * unit has.
 */
function positiveWeights(labels: Values, classes: number): number[] {
  const units = labels.length / classes;
  return countsOf(labels, classes)
    .map((count) => count === 0 ? 1 : (units - count) / count);
}

/** Probability of each label alone: the logistic function of its logit. */
function probabilitiesOf(logits: Float32Array): Float32Array {
  return logits.map((logit) => 1 / (1 + Math.exp(-logit)));
}
