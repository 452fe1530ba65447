/**
 * How predictions are shown, by problem: as lines for people, as cells of a
 * table, and beside the labels that a table has.
 */
import { className, toNumber } from "../../data/labels.ts";
import type { Prediction } from "../../problems/problem.ts";

/** How the predictions of a problem are shown. */
export interface PredictionView {
  /** Names of the columns that a prediction fills in a table. */
  readonly columns: readonly string[];
  /** Values of these columns. */
  cells(prediction: Prediction): readonly unknown[];
  /** A prediction for people: names, the predicted one first, with values. */
  lines(
    prediction: Prediction,
  ): readonly (readonly [name: string, value: string])[];
  /** True if a row of a table has a list of labels. */
  readonly hasLists?: true;
  /**
   * A labelled row as numbers; absent where rows of a table are not scored.
   *
   * @param label Value of the column of labels; of a text that may have
   * several, a list of their names
   * @returns Undefined if the label is none of the adapter's
   */
  scored?(label: unknown, prediction: Prediction): ScoredRow | undefined;
}

/** A labelled row as the problem scores it. */
export interface ScoredRow {
  /** `[width]` of the problem. */
  readonly targets: readonly number[];
  /** `[predictionWidth]` of the problem. */
  readonly predictions: readonly number[];
}

const classification: PredictionView = {
  columns: ["predicted_label", "probability"],
  cells: ({ label, probabilities }) => [label!, probabilities![label!]!],
  lines: ({ label, probabilities }) =>
    Object.entries(probabilities!)
      .sort(([a, p], [b, q]) => a === label ? -1 : b === label ? 1 : q - p)
      .map(([name, value]) => [name, value.toFixed(4)]),
  scored(value, { label, probabilities }) {
    const names = Object.keys(probabilities!);
    const target = names.indexOf(className(value) ?? "");
    if (target < 0) return undefined;
    return { targets: [target], predictions: [names.indexOf(label!)] };
  },
};

const multiLabel: PredictionView = {
  columns: ["predicted_labels", "probabilities"],
  hasLists: true,
  cells: ({ labels, probabilities }) => [labels!, probabilities!],
  lines({ labels, probabilities }) {
    const predicted: [string, number][] = [];
    const others: [string, number][] = [];
    for (const entry of Object.entries(probabilities!)) {
      (labels!.includes(entry[0]) ? predicted : others).push(entry);
    }
    const byProbability = (a: [string, number], b: [string, number]) =>
      b[1] - a[1];
    return [
      ...predicted.sort(byProbability).map(([name, value]) =>
        [name, `${value.toFixed(4)}  predicted`] as const
      ),
      ...others.sort(byProbability).map(([name, value]) =>
        [name, value.toFixed(4)] as const
      ),
    ];
  },
  scored(value, { probabilities }) {
    const names = Object.keys(probabilities!);
    const labels = value as readonly string[];
    if (!labels.every((label) => names.includes(label))) return undefined;
    return {
      targets: names.map((name) => Number(labels.includes(name))),
      predictions: Object.values(probabilities!),
    };
  },
};

const regression: PredictionView = {
  columns: ["predicted_score"],
  cells: ({ score }) => [score!],
  lines: ({ score }) => [["", score!.toFixed(3)]],
  scored(value, { score }) {
    const target = toNumber(value);
    if (!Number.isFinite(target)) return undefined;
    return { targets: [target], predictions: [score!] };
  },
};

const tokens: PredictionView = {
  columns: ["predicted_entities"],
  cells: ({ entities }) => [entities],
  lines: ({ entities }) =>
    entities!.map(({ label, text, start, end, probability }) => [
      label,
      `${probability.toFixed(4)}  ${start} to ${end}  ${text}`,
    ]),
};

const language: PredictionView = {
  columns: ["predicted_text"],
  cells: ({ written }) => [written!],
  lines: ({ written }) => [["", written!]],
};

/** By the problem's name. */
const VIEWS: Readonly<Record<string, PredictionView>> = {
  classification,
  "multi-label": multiLabel,
  regression,
  tokens,
  language,
};

/** Names of the columns of all problems. */
export const PREDICTED_COLUMNS = Object.values(VIEWS)
  .flatMap(({ columns }) => columns);

/** How the predictions of a problem that models are trained for are shown. */
export function viewOf(problem: string): PredictionView {
  const view = VIEWS[problem];
  if (view !== undefined) return view;
  throw new TypeError(`Predictions of "${problem}" have no view`);
}
