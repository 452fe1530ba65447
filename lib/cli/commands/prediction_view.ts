/**
 * How predictions are shown, by problem: as lines for people, as cells of a
 * table, and beside the labels that a table has.
 */
import { className, toNumber } from "../../data/labels.ts";
import type { Prediction } from "../../problems/problem.ts";
import { columnOf } from "../../problems/registry.ts";
import type { TaggedText } from "../../problems/tagged_text.ts";

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
  /**
   * What the labels of a row are where they are not the value of a column: the
   * list of those that a text has, or a text whose words have tags.
   */
  readonly labelForm?: "list" | "tagged";
  /**
   * A labelled row as numbers; absent where rows of a table are not scored.
   *
   * @param label Value of the column of labels; of a text that may have
   * several, a list of their names; of words with tags, the text with its tags
   * @param classes Of the adapter, if it has any
   * @returns Undefined if the label is none of the adapter's
   */
  scored?(
    label: unknown,
    prediction: Prediction,
    classes: readonly string[],
  ): ScoredRow | undefined;
}

/**
 * A labelled row as the problem scores it: of one unit, or of each word that
 * has a token.
 */
export interface ScoredRow {
  /** `[units, width]` of the problem, flat. */
  readonly targets: readonly number[];
  /** `[units, predictionWidth]` of the problem, flat. */
  readonly predictions: readonly number[];
}

const classification: PredictionView = {
  columns: ["predicted_label", "probability"],
  cells: ({ label, probabilities }) => [label!, probabilities![label!]!],
  lines: ({ label, probabilities }) =>
    Object.entries(probabilities!)
      .sort(([a, p], [b, q]) => a === label ? -1 : b === label ? 1 : q - p)
      .map(([name, value]) => [name, value.toFixed(4)]),
  scored(value, { label }, classes) {
    const target = classes.indexOf(className(value) ?? "");
    if (target < 0) return undefined;
    return { targets: [target], predictions: [classes.indexOf(label!)] };
  },
};

const multiLabel: PredictionView = {
  columns: ["predicted_labels", "probabilities"],
  labelForm: "list",
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
  scored(value, { probabilities }, classes) {
    const labels = value as readonly string[];
    if (!labels.every((label) => classes.includes(label))) return undefined;
    return {
      targets: classes.map((name) => Number(labels.includes(name))),
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
  labelForm: "tagged",
  cells: ({ entities }) => [entities],
  lines: ({ entities }) =>
    entities!.map(({ label, text, start, end, probability }) => [
      label,
      `${probability.toFixed(4)}  ${start} to ${end}  ${text}`,
    ]),
  scored(value, { tags }, classes) {
    const numbers = tagNumbers(value as TaggedText, classes);
    if (numbers === undefined) return undefined;
    return {
      targets: tags!.map(({ word }) => numbers[word]!),
      predictions: tags!.map(({ tag }) => classes.indexOf(tag)),
    };
  },
};

/** The classes of the words of a text; undefined if one is none of these. */
function tagNumbers(
  tagged: TaggedText,
  classes: readonly string[],
): number[] | undefined {
  const row = { place: tagged.place, values: [tagged.text, tagged] };
  try {
    const { words } = columnOf("tokens").of(classes).read(row);
    return words!.map(([, , label]) => label!);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

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
