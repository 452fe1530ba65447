/** GLUE (Wang et al. 2018): its tasks with their metrics, and its files. */
import { basename } from "@std/path/posix/basename";
import { extname } from "@std/path/posix/extname";
import { join } from "@std/path/posix/join";
import { toExamples, toNumber } from "../data/labels.ts";
import { readTable } from "../data/table.ts";
import { quote } from "../data/text_file.ts";
import { labelsOf } from "../problems/registry.ts";

/** A task of GLUE, as the hub and as GLUE's own TSV files present it. */
export interface GlueTask {
  /** Display name, and the name of GLUE's folder: `SST-2`. */
  readonly title: string;
  readonly problem: "classification" | "regression";
  /**
   * Class names in the order of their numbers; null for a regression with
   * scores from 0 to 5.
   */
  readonly labels: readonly string[] | null;
  /** Metrics of the task, the main metric first. */
  readonly metrics: readonly string[];
  /** Text columns on the hub. */
  readonly columns: readonly [string] | readonly [string, string];
  /** Text columns of the TSV files if they differ. */
  readonly tsvColumns?: readonly [string] | readonly [string, string];
  /** Label column of the TSV files. */
  readonly tsvLabel: string;
  /** Whether the TSV files give a class by number or by name, or a score. */
  readonly tsvClass: "number" | "name" | "score";
  /** TSV file by split. */
  readonly tsvFiles: Readonly<Record<string, string>>;
  /** Columns of labelled TSV files without a header. */
  readonly tsvHeader?: readonly string[];
  /** Whether the published TSV files have lines that are broken in two. */
  readonly tsvBroken?: boolean;
}

const FILES = {
  train: "train.tsv",
  validation: "dev.tsv",
  test: "test.tsv",
};

/** Classes by their numbers. */
const NUMBERED = {
  problem: "classification",
  tsvLabel: "label",
  tsvClass: "number",
  tsvFiles: FILES,
} as const;

/** Classes by their names. */
const ENTAILMENT = {
  problem: "classification",
  labels: ["entailment", "not_entailment"],
  metrics: ["accuracy"],
  tsvLabel: "label",
  tsvClass: "name",
  tsvFiles: FILES,
} as const;

/**
 * The tasks of GLUE by their names on the hub.
 *
 * Labels and columns are those of the data set `nyu-mll/glue`. Where GLUE
 * averages two metrics, the one that the LoRA papers report comes first.
 */
export const GLUE_TASKS = {
  cola: {
    ...NUMBERED,
    title: "CoLA",
    labels: ["unacceptable", "acceptable"],
    metrics: ["matthews"],
    columns: ["sentence"],
    tsvHeader: ["source", "label", "star", "sentence"],
  },
  sst2: {
    ...NUMBERED,
    title: "SST-2",
    labels: ["negative", "positive"],
    metrics: ["accuracy"],
    columns: ["sentence"],
  },
  mrpc: {
    ...NUMBERED,
    title: "MRPC",
    labels: ["not_equivalent", "equivalent"],
    metrics: ["accuracy", "f1"],
    columns: ["sentence1", "sentence2"],
    tsvColumns: ["#1 String", "#2 String"],
    tsvLabel: "Quality",
  },
  stsb: {
    ...NUMBERED,
    title: "STS-B",
    problem: "regression",
    labels: null,
    metrics: ["pearson", "spearman"],
    columns: ["sentence1", "sentence2"],
    tsvLabel: "score",
    tsvClass: "score",
  },
  qqp: {
    ...NUMBERED,
    title: "QQP",
    labels: ["not_duplicate", "duplicate"],
    metrics: ["accuracy", "f1"],
    columns: ["question1", "question2"],
    tsvLabel: "is_duplicate",
    tsvBroken: true,
  },
  mnli: {
    ...ENTAILMENT,
    title: "MNLI",
    labels: ["entailment", "neutral", "contradiction"],
    columns: ["premise", "hypothesis"],
    tsvColumns: ["sentence1", "sentence2"],
    tsvLabel: "gold_label",
    tsvFiles: {
      train: "train.tsv",
      validation_matched: "dev_matched.tsv",
      validation_mismatched: "dev_mismatched.tsv",
      test_matched: "test_matched.tsv",
      test_mismatched: "test_mismatched.tsv",
    },
  },
  qnli: {
    ...ENTAILMENT,
    title: "QNLI",
    columns: ["question", "sentence"],
  },
  rte: {
    ...ENTAILMENT,
    title: "RTE",
    columns: ["sentence1", "sentence2"],
  },
  wnli: {
    ...NUMBERED,
    title: "WNLI",
    labels: ["not_entailment", "entailment"],
    metrics: ["accuracy"],
    columns: ["sentence1", "sentence2"],
  },
} as const satisfies Readonly<Record<string, GlueTask>>;

/** Name of a GLUE task on the hub. */
export type GlueTaskName = keyof typeof GLUE_TASKS;

/** The GLUE task of this name; undefined for the user's own data. */
export function glueTask(name: string): GlueTask | undefined {
  return Object.hasOwn(GLUE_TASKS, name)
    ? GLUE_TASKS[name as GlueTaskName]
    : undefined;
}

/** Display name of a task: GLUE's, or the user's own name for the data. */
export function taskTitle(name: string): string {
  return glueTask(name)?.title ?? name;
}

/**
 * Names of splits, including MNLI's two halves and the names for both together.
 */
export const SPLITS = [
  "train",
  "validation",
  "validation_matched",
  "validation_mismatched",
  "test",
  "test_matched",
  "test_mismatched",
] as const;

export type SplitName = typeof SPLITS[number];

/**
 * Splits of a task that a name stands for: `validation` stands for both of
 * MNLI's.
 */
export function splitsNamed(
  task: GlueTask,
  name: SplitName,
): readonly string[] {
  return Object.keys(task.tsvFiles).filter((split) =>
    split === name || split.startsWith(`${name}_`)
  );
}

/**
 * Reads a file of the data set `nyu-mll/glue` on the hub (`.parquet`), or a TSV
 * file as GLUE publishes it. Examples of a test set have no labels, which GLUE
 * does not publish, and their numbers in the file.
 *
 * @returns The examples, and the number of lines skipped because they are
 * broken in two
 * @throws {SyntaxError} With file and row, if the file is not valid for this
 * task.
 */
export async function readSplit(path: string, task: GlueTask, split: string) {
  const isTsv = extname(path) === ".tsv";
  const isTest = split.startsWith("test");
  const texts = isTsv && task.tsvColumns || task.columns;
  const label = isTsv ? task.tsvLabel : "label";
  const numbers = isTsv ? (isTest ? ["index", "id"] : []) : ["idx"];
  const rows = await readTable(
    path,
    isTest ? texts : [...texts, label],
    isTest ? [label, ...numbers] : numbers,
    isTsv
      ? { header: isTest ? undefined : task.tsvHeader, broken: task.tsvBroken }
      : {},
  );
  const numbered = rows.flatMap(({ place, values }, position) => {
    if (values.length === 0) return [];
    const cell = values.slice(texts.length + 1).find((it) => it !== undefined);
    const index = cell === undefined ? position : toNumber(cell);
    if (Number.isSafeInteger(index) && index >= 0) {
      return [{ place, values: values.slice(0, texts.length + 1), index }];
    }
    throw new SyntaxError(
      `${place}: Index ${quote(String(cell))} is not a non-negative integer`,
    );
  });
  const labels = isTsv && task.tsvClass === "name"
    ? task.labels
    : task.labels && task.labels.map((_, number) => String(number));
  const labelling = isTest ? undefined : labelsOf({ ...task, labels });
  const examples = toExamples(numbered, labelling)
    .map((example, i) => ({ ...example, index: numbered[i]!.index }));
  return { examples, broken: rows.length - numbered.length };
}

/** The requested splits of a task, or all that it has. */
export function wantedSplits(
  task: GlueTask,
  requested: readonly SplitName[] | undefined,
): string[] {
  const splits = requested?.flatMap((name) => splitsNamed(task, name));
  return [...new Set(splits ?? Object.keys(task.tsvFiles))];
}

/** Folder of a task's TSV files, given GLUE's folder or that folder itself. */
export function taskFolder(folder: string, task: GlueTask): string {
  const { title } = task;
  return basename(folder) === title ? folder : join(folder, title);
}
