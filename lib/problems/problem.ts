import type { Example } from "../data/example.ts";
import type { Labelling } from "../data/labels.ts";
import { type Setting, SettingError } from "../data/setting_error.ts";
import type { Row } from "../data/columns.ts";
import type { HeadName } from "../engine/models/model.ts";
import type { LossName } from "../engine/ops/loss.ts";
import type { FoundEntity, WordForm } from "./entities.ts";

/**
 * Rows of numbers, one after the other: targets of units, or predictions. Most
 * problems have one number in a row: a class number, or a score.
 */
export type Values = ArrayLike<number>;

/**
 * Scores predictions for some units, such as a bootstrap draws, for all by
 * default: NaN if it is undefined. A unit is an example.
 */
export type Scorer = (units?: Values) => (predictions: Values) => number;

/** Scores predictions against labels, both `[examples]`, one number each. */
export type Metric = (predictions: Values, labels: Values) => number;

/** Metrics of examples by name. */
export type Metrics = Readonly<Record<string, Metric>>;

/**
 * A prediction for a text, as `classification.json` has it; fields of other
 * problems are null.
 */
export interface Prediction {
  /** The most probable class. */
  readonly label: string | null;
  /** Of a text that may have several labels, those that are predicted. */
  readonly labels?: readonly string[];
  /** By class. */
  readonly probabilities: Readonly<Record<string, number>> | null;
  readonly score: number | null;
  /**
   * Of a text whose words have classes; characters are counted as Python does.
   */
  readonly entities?: readonly FoundEntity[];
  /** Of such a text, the class of each word that has a token. */
  readonly tags?: readonly WordTag[];
  /** What a model writes after the text. */
  readonly written?: string;
}

/** The class of a word. */
export interface WordTag {
  /** Number of the word in its text. */
  readonly word: number;
  readonly tag: string;
}

/**
 * How a column of a user's file becomes labels. It stands apart from the
 * problem, so that the code of a training, which its key contains, has none of
 * it.
 */
export interface LabelColumn {
  /** Name of its problem. */
  readonly problem: string;
  /**
   * Makes a function that reads the rows of files, that of the training first,
   * into rows of one or two texts and a label. Rows are as they are without it.
   *
   * @param options.separator What separates the labels of a text that may have
   * several, or "auto"; undefined where only lists have several
   * @param options.classes Names of classes, if the user lists them
   * @param options.repairs Whether labels that do not follow each other are
   * repaired
   * @param options.range Least and most score, if the user sets them
   * @param options.log Called with what is recognized
   * @param options.fault Called with what is wrong and taken nevertheless
   */
  reader?(options: {
    readonly separator?: string | undefined;
    readonly classes?: readonly string[] | undefined;
    readonly repairs: boolean;
    readonly range?: readonly [number, number] | undefined;
    readonly log: (what: string) => void;
    readonly fault: (what: string) => void;
  }): (rows: readonly Row[], isLabelled: boolean) => readonly Row[];
  /**
   * The class names of a training file; null if labels are no classes.
   *
   * @param rows Rows whose last value is the label
   * @throws {SyntaxError} If the labels do not look like those of this problem
   */
  namesIn(rows: readonly Row[]): readonly string[] | null;
  /**
   * The form of the words that have labels, by which other texts are cut into
   * words.
   */
  wordForm?(rows: readonly Row[]): WordForm;
  /** The labels of a data set with these classes. */
  of(classes: readonly string[]): LabelReader;
}

/** What the labels of a data set are. */
export interface LabelReader extends Pick<Labelling, "read"> {
  /** Describes labels in a line: `2 classes: "neg" 40, "pos" 50`. */
  describe(labels: readonly number[]): string;
  /**
   * What is wrong with rows on which a training runs; see {@linkcode faultsOf}.
   */
  faults(
    rows: readonly Row[],
    facts: { readonly areNamed: boolean; readonly isTraining: boolean },
  ): string[];
  /**
   * Of which strata an example is: each, by default one of all examples, has
   * about the same share in a holdout.
   */
  strata?(example: Example): readonly number[];
  /**
   * What examples that are held out together have in common; by default all
   * their texts.
   */
  heldTogether?(example: Example): string;
  /** Metrics of data that no benchmark scores, the main metric first. */
  usualMetrics(labels: Values): string[];
}

/** A kind of problem, whatever its classes are. */
export interface ProblemKind {
  /** Name in artifacts. */
  readonly name: string;
  /** Metrics by name. */
  readonly metrics: Readonly<Record<string, unknown>>;
  /** Those of which lower values are better. */
  readonly lower?: readonly string[];
  /**
   * The head that it takes of a model: one vector of outputs for a sequence, or
   * for each token, or the next token, or an embedding of each sequence.
   */
  readonly head: HeadName;
  /** What follows `AutoModelFor` in transformers. */
  readonly autoClass: string;
  /** PEFT's `task_type`. */
  readonly peftTask: string;
  /** The task of a model card on the hub. */
  readonly hubTask: { readonly type: string; readonly name: string };
  /** The problem with these classes. */
  of(labels: readonly string[] | null, details?: ProblemDetails): Problem;
}

/** What distinguishes problems of a kind, besides their classes. */
export interface ProblemDetails {
  /** Of words with classes, their form in the training set. */
  readonly words?: WordForm | undefined;
  /** Of texts to write, true if they are answers in conversations. */
  readonly isChat?: true | undefined;
  /**
   * Of several labels of a text: those of text i start at `starts[i]`,
   * `[texts + 1]`.
   */
  readonly starts?: Int32Array | undefined;
  /**
   * Of texts that may have several labels, the probability from which one is
   * predicted; 0.5 by default.
   */
  readonly threshold?: number | undefined;
  /**
   * Of texts that belong together, the number of texts of an example; 2 by
   * default.
   */
  readonly sequences?: number | undefined;
}

/** The fields by which an artifact names its problem and the classes of it. */
export interface ProblemFields extends Omit<ProblemDetails, "starts"> {
  /** Name of the kind of problem. */
  readonly problem: string;
  /** Class names in the order of their ids; null if labels are no classes. */
  readonly labels: readonly string[] | null;
}

/**
 * A problem: what a label is, what it takes of a model, what the model's
 * outputs say, and how that is scored and shown.
 */
export interface Problem extends ProblemKind {
  /** Class names in the order of their ids; empty if labels are no classes. */
  readonly classes: readonly string[];
  /** A task of it in messages: `"sst2" with the classes negative, positive`. */
  inWords(task: string): string;
  /**
   * True if labels mean the same in another problem of this kind. Unnamed
   * classes match any names.
   */
  matches(other: ProblemFields): boolean;

  /** Numbers in the row of targets of a unit. */
  readonly width: number;
  /** Numbers in the row of predictions of a unit. */
  readonly predictionWidth: number;
  /** True for a number that a target may be. */
  accepts(value: number): boolean;

  /**
   * Outputs of the head: logits are `[examples, outputs]`, of tokens
   * `[words, outputs]`. Of a language head, the loss of each token to write;
   * embeddings are as wide as the model.
   */
  readonly outputs: number;
  readonly loss: LossName;
  /** The loss that also finds the first text of each second one, on request. */
  readonly symmetricLoss?: LossName;
  /**
   * Weights of the classes that are inversely proportional to their frequency;
   * absent without classes.
   */
  balancedWeights?(labels: Values): number[];
  /**
   * What a model says, as another's targets: logits and targets are
   * `[examples, outputs]`.
   */
  targetsOf(logits: Float32Array): Float32Array;

  /**
   * Of a problem whose head gives embeddings: what these say of all examples
   * together, `[examples, n]`, flat, which has the place of logits.
   *
   * @param targets `[examples, width]`, flat
   */
  fromEmbeddings?(
    embeddings: SequenceEmbeddings,
    targets: Values,
  ): Float32Array;
  /**
   * Predictions by logits, `[units, outputs]`: `[units, predictionWidth]`,
   * flat.
   */
  predictions(logits: Float32Array): Float32Array;
  /** Number of units that a scorer draws from. */
  units(labels: Values): number;
  /**
   * Of texts that may have several labels, the probability from which one is
   * predicted.
   */
  readonly threshold?: number;
  /**
   * The threshold by which some predictions for the same units have the best
   * mean score, and that score; absent where predictions have none.
   */
  bestThreshold?(
    metric: string,
    predictions: readonly Values[],
    labels: Values,
  ): { readonly value: number; readonly score: number };
  /** What scores predictions by a metric. */
  scorer(metric: string, labels: Values): Scorer;
  /**
   * A text to predict for, with the words that are read of it if they have
   * classes.
   */
  toExample(
    text: Pick<Example, "text" | "pair" | "words">,
    index: number,
  ): Example;
  /**
   * The prediction for one text by its logits, `[outputs]`, or those of its
   * words.
   */
  prediction(logits: Float32Array, text: PredictedText): Prediction;

  /** Fields of transformers' `config.json`. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Python arguments by which transformers loads a model for it. */
  readonly pythonOptions: string;
}

/** Embeddings of the sequences of some examples. */
export interface SequenceEmbeddings {
  /** Of each different sequence, `[different, width]`, flat. */
  readonly values: Float32Array;
  /**
   * Which of these each sequence has, `[examples * sequencesPerExample]`, then
   * each further text of a corpus.
   */
  readonly numbers: Int32Array;
}

/**
 * A text that was read, of several words with the numbers of those that have
 * tokens.
 */
export interface PredictedText extends Pick<Example, "text" | "words"> {
  readonly read: readonly number[];
}

/** What problems have whose targets and predictions are one number a unit. */
export const ONE_NUMBER = { width: 1, predictionWidth: 1 } as const;

/**
 * What problems with one label for a sequence are in models and in other
 * libraries, and in scores.
 */
export const SEQUENCE = {
  units: (labels: Values) => labels.length,
  toExample: (text: Pick<Example, "text" | "pair">, index: number) => (
    { ...text, index }
  ),
  head: "sequence",
  autoClass: "SequenceClassification",
  peftTask: "SEQ_CLS",
  hubTask: { type: "text-classification", name: "Text Classification" },
} as const;

/**
 * What problems without classes have for theirs, and for predictions of
 * numbers.
 */
export const NUMBERS = {
  ...ONE_NUMBER,
  classes: [],
  outputs: 1,
  targetsOf: (outputs: Float32Array) => outputs,
  predictions: (outputs: Float32Array) => outputs,
} as const;

/** @throws {TypeError} If there is no metric of this name */
export function metricNamed<T>(
  metrics: Readonly<Record<string, T>>,
  name: string,
): T {
  if (Object.hasOwn(metrics, name)) return metrics[name]!;
  const names = Object.keys(metrics).join(", ");
  throw new TypeError(`Unknown metric "${name}"; the metrics are ${names}`);
}

/**
 * Scores examples by one of a problem's metrics, as {@linkcode metricNamed}
 * finds it.
 */
export function exampleScorer(
  metrics: Metrics,
  name: string,
  labels: Values,
): Scorer {
  const metric = metricNamed(metrics, name);
  return (units) => {
    if (units === undefined) {
      return (predictions) => metric(predictions, labels);
    }
    const gather = (values: Values, into = new Float64Array(units.length)) => {
      for (let i = 0; i < into.length; i++) into[i] = values[units[i]!]!;
      return into;
    };
    const drawnLabels = gather(labels);
    /**
     * Reused by all predictions, since a bootstrap draws thousands of times.
     */
    const drawn = new Float64Array(units.length);
    return (predictions) => metric(gather(predictions, drawn), drawnLabels);
  };
}

/**
 * Scores predictions by statistics of each unit that are added up over the
 * units drawn. Those of predictions that are scored in many draws are computed
 * once.
 *
 * @param statisticsOf `[units, width]`, flat
 */
export function summedScorer(
  { units, width }: { readonly units: number; readonly width: number },
  statisticsOf: (predictions: Values) => Values,
  score: (sums: readonly number[]) => number,
): Scorer {
  const all = Int32Array.from({ length: units }, (_, i) => i);
  const computed = new WeakMap<Values, Values>();
  return (drawn = all) => (predictions) => {
    const statistics = computed.get(predictions) ?? statisticsOf(predictions);
    computed.set(predictions, statistics);
    const sums = Array<number>(width).fill(0);
    for (let k = 0; k < drawn.length; k++) {
      const from = drawn[k]! * width;
      for (let i = 0; i < width; i++) sums[i]! += statistics[from + i]!;
    }
    return score(sums);
  };
}

/** Number of values that pass a test. */
export function count(
  values: Values,
  test: (value: number, i: number) => boolean,
): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) if (test(values[i]!, i)) total++;
  return total;
}

/** Maximum number of faults that a message lists. */
const MAX_FAULTS = 10;

/**
 * Throws the faults of a table's rows, if there are any.
 *
 * @param setting Mends them.
 * @throws {SyntaxError}
 */
export function throwFaults(
  faults: readonly string[],
  setting?: Setting,
): void {
  if (faults.length === 0) return;
  const more = faults.length - MAX_FAULTS;
  const message = faults.slice(0, MAX_FAULTS).join("\n") +
    (more > 0 ? `\nand ${more} more` : "");
  throw setting ? new SettingError(message, setting) : new SyntaxError(message);
}
