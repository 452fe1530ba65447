import type { Example } from "../data/example.ts";
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
  lower: [],
  plain: ["nist"],
  isSummed: true,
  padding: "including padding in training, and without it in written texts",
  columns: [],
  of: (labels, details) => ({
    ...language.of(labels, details),
    ...writing,
    outputs: STATISTICS,
    predictionWidth: STATISTICS,
    constants: () => ({ name: "writing nothing", rows: [] }),
    units: (labels) => labels.length,
    scorer: (name, labels) => textScorer(name, labels.length),
  }),
};

/** What a text to write has for a label: a number of 24 bits made of its prompt and of what people wrote (FNV-1a), so that other texts are told apart. */
export function textMark({ text, messages, completions }: Example): number {
  let hash = 0x811c9dc5;
  for (const char of JSON.stringify([text, messages, completions])) {
    hash = Math.imul(hash ^ char.codePointAt(0)!, 0x01000193);
  }
  return hash >>> 8;
}
