import type { Example } from "../data/example.ts";
import { language } from "./language.ts";
import type { ProblemKind } from "./problem.ts";
import {
  STATISTICS,
  TEXT_METRICS,
  textScorer,
  textStatistics,
} from "./text_metrics.ts";

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
  of: (labels, details) => ({
    ...language.of(labels, details),
    ...writing,
    outputs: STATISTICS,
    predictionWidth: STATISTICS,
    units: (labels) => labels.length,
    scorer: (name, labels) => textScorer(name, labels.length),
  }),
};

/** Texts that need no training, as predictions for each prompt. */
export interface TextBaseline {
  /** What is done: `copying the prompt`. */
  readonly name: string;
  /** Statistics of the texts, `[prompts, STATISTICS]`. */
  readonly predictions: Float64Array;
}

/**
 * What an adapter that has learnt to write must exceed: copying the prompt (of
 * a conversation, its last message), and always writing the text that is the
 * most frequent one in the training set, if any occurs twice.
 *
 * @param scored Prompts with the texts that people wrote
 */
export function textBaselines(
  scored: readonly Example[],
  training: readonly Example[],
): readonly TextBaseline[] {
  const baseline = (name: string, textOf: (example: Example) => string) => ({
    name,
    predictions: textStatistics(
      scored.map((example) => ({
        text: textOf(example),
        references: example.completions!,
      })),
    ),
  });
  const copies = baseline(
    "copying the prompt",
    ({ text, messages }) => messages?.at(-1)?.content ?? text,
  );
  const written = training.flatMap(({ completions = [] }) => completions);
  const texts = [...Map.groupBy(written, (text) => text).values()];
  const [mostFrequent] = texts.toSorted((a, b) => b.length - a.length);
  if (mostFrequent === undefined || mostFrequent.length < 2) return [copies];
  return [
    copies,
    baseline("always writing the most frequent text", () => mostFrequent[0]!),
  ];
}

/**
 * What a text to write has for a label: a number of 24 bits made of its prompt
 * and of what people wrote (FNV-1a), so that other texts are told apart.
 */
export function textMark({ text, messages, completions }: Example): number {
  let hash = 0x811c9dc5;
  for (const char of JSON.stringify([text, messages, completions])) {
    hash = Math.imul(hash ^ char.codePointAt(0)!, 0x01000193);
  }
  return hash >>> 8;
}
