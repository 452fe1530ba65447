import { language } from "./language.ts";
import type { ProblemKind } from "./problem.ts";
import { STATISTICS, TEXT_METRICS, textScorer } from "./text_metrics.ts";

/**
 * Texts that a model has written, scored beside those of people. It is the
 * problem of such scores: models are trained for {@linkcode language}. What is
 * predicted of an input are the statistics of its text.
 */
export const writing: ProblemKind = {
  ...language,
  name: "writing",
  metrics: TEXT_METRICS,
  lower: ["ter"],
  plain: ["nist"],
  isSummed: true,
  padding: "including padding in training, and without it in written texts",
  columns: [],
  of: (labels, details) => ({
    ...language.of(labels, details),
    ...writing,
    outputs: STATISTICS,
    units: (labels) => labels.length,
    scorer: (name, labels) => textScorer(name, labels.length),
  }),
};
