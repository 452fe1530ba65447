import type { HeadName } from "../engine/models/model.ts";
import {
  classColumn,
  classification,
  numberedClasses,
} from "./classification.ts";
import type {
  LabelColumn,
  LabelReader,
  Problem,
  ProblemFields,
  ProblemKind,
  Values,
} from "./problem.ts";
import { groupColumn, groups } from "./groups.ts";
import { labelListColumn } from "./label_lists.ts";
import { completionColumn, language } from "./language.ts";
import { multiLabel } from "./multi_label.ts";
import { regression, scoreColumn } from "./regression.ts";
import { answerColumn, retrieval } from "./retrieval.ts";
import { scoredPairColumn, similarity } from "./similarity.ts";
import { tagColumn, tokens } from "./tokens.ts";
import { writing } from "./writing.ts";

/** Every kind of problem. */
const KINDS: readonly ProblemKind[] = [
  classification,
  multiLabel,
  regression,
  tokens,
  language,
  writing,
  similarity,
  retrieval,
  groups,
];

/** The column of each kind. */
const COLUMNS: readonly LabelColumn[] = [
  classColumn,
  labelListColumn,
  scoreColumn,
  tagColumn,
  completionColumn,
  scoredPairColumn,
  answerColumn,
  groupColumn,
];

/** Names of the kinds. */
export const PROBLEMS = KINDS.map(({ name }) => name);

/** Names of the metrics of all problems. */
export const METRICS = [
  ...new Set(KINDS.flatMap(({ metrics }) => Object.keys(metrics))),
];

/**
 * 1 for a metric of which higher values are better, -1 for one of lower ones.
 */
export function signOf(metric: string): 1 | -1 {
  return KINDS.some(({ lower }) => lower?.includes(metric)) ? -1 : 1;
}

/** A task, such as that of an artifact, with its problem. */
export interface TaskProblem extends ProblemFields {
  readonly task: string;
}

/** The kind of problem of this name. */
export function problemNamed(name: string): ProblemKind {
  const kind = KINDS.find((it) => it.name === name);
  if (kind !== undefined) return kind;
  throw new TypeError(
    `Unknown problem "${name}"; expected one of ${PROBLEMS.join(", ")}`,
  );
}

/**
 * The problem that an artifact names.
 *
 * @param starts Of words that are scored, where those of each text start
 */
export function problemOf(
  { problem, labels, ...details }: ProblemFields,
  starts?: Int32Array,
): Problem {
  const { words, isChat, threshold, sequences } = details;
  return problemNamed(problem)
    .of(labels, { words, isChat, threshold, sequences, starts });
}

/**
 * A problem with the probability from which a label is predicted.
 *
 * @param threshold Unchanged if undefined
 * @throws {RangeError} If its predictions depend on none.
 */
export function withThreshold<Fields extends ProblemFields>(
  fields: Fields,
  threshold: number | undefined,
): Fields {
  if (threshold === undefined) return fields;
  if (problemOf(fields).threshold !== undefined) {
    return { ...fields, threshold };
  }
  throw new RangeError(
    "A threshold applies to texts that may have several labels: remove it",
  );
}

/** How a column becomes labels of a problem. */
export function columnOf(problem: string): LabelColumn {
  return COLUMNS.find((it) => it.problem === problem)!;
}

/** How labels of an artifact's problem are read. */
export function labelsOf(fields: ProblemFields): LabelReader {
  const { name, classes } = problemOf(fields);
  return columnOf(name).of(classes);
}

/** The tasks of PEFT's configurations. */
export const PEFT_TASKS = [...new Set(KINDS.map(({ peftTask }) => peftTask))];

/** The head that a task of PEFT has. */
export function headOfTask(peftTask: string): HeadName {
  return KINDS.find((it) => it.peftTask === peftTask)!.head;
}

/**
 * The problem of a head with this many outputs, of which nothing else is known.
 */
export function problemOfOutputs(
  outputs: number,
  head: HeadName = "sequence",
): { readonly problem: string; readonly labels: string[] | null } {
  switch (head) {
    case "sequence":
      return outputs === 1
        ? { problem: regression.name, labels: null }
        : { problem: classification.name, labels: numberedClasses(outputs) };
    case "tokens":
      if (outputs > 1) {
        return { problem: tokens.name, labels: numberedClasses(outputs) };
      }
      throw new RangeError(
        `A head for tokens has ${outputs} output, expected 2`,
      );
    case "language":
      return { problem: language.name, labels: null };
    case "embedding":
      return { problem: retrieval.name, labels: null };
  }
}

/**
 * Checks that labels mean the same in training and in use. Whether an imported
 * adapter was trained on conversations is unknown, unless it says so.
 *
 * @param what Artifact in use
 * @throws {Error} If they do not
 */
export function checkSameLabels(
  trained: TaskProblem & { readonly imported?: boolean },
  used: TaskProblem,
  what: "tokens" | "data" = "tokens",
): void {
  const isChat = trained.isChat ?? (trained.imported ? used.isChat : undefined);
  if (areSameLabels({ ...trained, isChat }, used)) return;
  const inWords = (it: TaskProblem) => problemOf(it).inWords(it.task);
  const trainedFor = inWords({ ...trained, isChat });
  const remedies: Readonly<Record<string, string>> = {
    language: `that fetch-data reads by "${
      isChat ? "messages" : "completion"
    }"`,
    embedding: 'that fetch-data reads by "positive" or "group"',
  };
  const remedy = remedies[problemOf(trained).head] ??
    "with the same classes in the same order";
  throw new Error(
    `The model was trained for ${trainedFor}, but the ${what} are for ${
      inWords(used)
    }: connect ${what} ${remedy}`,
  );
}

/**
 * True if two problems are of one kind, with the same classes in the same
 * order, or if both are solved by embeddings.
 */
export function areSameLabels(a: ProblemFields, b: ProblemFields): boolean {
  const problem = problemOf(a);
  const other = problemOf(b);
  const areEmbeddings = [problem, other]
    .every(({ head }) => head === "embedding");
  return areEmbeddings ||
    problem.name === other.name && problem.matches(b);
}

/**
 * Scores predictions by metrics.
 *
 * @returns Value by name; NaN if undefined (null in JSON)
 * @throws {RangeError} If there are no examples, or a different number of
 * predictions
 */
export function scoresOf(
  problem: Problem,
  metrics: readonly string[],
  predictions: Values,
  labels: Values,
): Record<string, number> {
  const predicted = predictions.length / problem.predictionWidth;
  const labelled = labels.length / problem.width;
  if (predicted !== labelled || labelled === 0) {
    throw new RangeError(
      `Cannot compare ${predicted} predictions with ${labelled} labels`,
    );
  }
  return Object.fromEntries(
    metrics.map((name) => [name, problem.scorer(name, labels)()(predictions)]),
  );
}
