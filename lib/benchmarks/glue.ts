import type { MetricName } from "../data/metrics.ts";

/** A task of the GLUE benchmark, as the hub and as GLUE's own TSV files present it. */
export interface GlueTask {
  /** Display name, and the name of GLUE's folder: `SST-2`. */
  readonly title: string;
  /** Class names in the order of their numbers; null for a regression with scores from 0 to 5. */
  readonly labels: readonly string[] | null;
  /** Metrics of the task, the main metric first. */
  readonly metrics: readonly MetricName[];
  /** Folder of the TSV files if it differs from the title. */
  readonly tsvFolder?: string;
  /** Text columns on the hub. */
  readonly columns: readonly [string] | readonly [string, string];
  /** Text columns of the TSV files. */
  readonly tsvColumns: readonly [string] | readonly [string, string];
  /** Label column of the TSV files. */
  readonly tsvLabel: string;
  /** Whether the TSV files give a class by number or by name. */
  readonly tsvClass: "number" | "name";
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

const ENTAILMENT = {
  labels: ["entailment", "not_entailment"],
  metrics: ["accuracy"],
  tsvLabel: "label",
  tsvClass: "name",
  tsvFiles: FILES,
} as const;

/**
 * The tasks of GLUE by their names on the hub (Wang et al. 2018).
 *
 * Labels and columns are those of the data set `nyu-mll/glue`. Where GLUE
 * averages two metrics, the one that the LoRA papers report comes first.
 */
export const GLUE_TASKS = {
  cola: {
    title: "CoLA",
    labels: ["unacceptable", "acceptable"],
    metrics: ["matthews"],
    columns: ["sentence"],
    tsvColumns: ["sentence"],
    tsvLabel: "label",
    tsvClass: "number",
    tsvFiles: FILES,
    tsvHeader: ["source", "label", "star", "sentence"],
  },
  sst2: {
    title: "SST-2",
    labels: ["negative", "positive"],
    metrics: ["accuracy"],
    columns: ["sentence"],
    tsvColumns: ["sentence"],
    tsvLabel: "label",
    tsvClass: "number",
    tsvFiles: FILES,
  },
  mrpc: {
    title: "MRPC",
    labels: ["not_equivalent", "equivalent"],
    metrics: ["accuracy", "f1"],
    columns: ["sentence1", "sentence2"],
    tsvColumns: ["#1 String", "#2 String"],
    tsvLabel: "Quality",
    tsvClass: "number",
    tsvFiles: FILES,
  },
  qqp: {
    title: "QQP",
    labels: ["not_duplicate", "duplicate"],
    metrics: ["accuracy", "f1"],
    columns: ["question1", "question2"],
    tsvColumns: ["question1", "question2"],
    tsvLabel: "is_duplicate",
    tsvClass: "number",
    tsvFiles: FILES,
    tsvBroken: true,
  },
  stsb: {
    title: "STS-B",
    labels: null,
    metrics: ["pearson", "spearman"],
    columns: ["sentence1", "sentence2"],
    tsvColumns: ["sentence1", "sentence2"],
    tsvLabel: "score",
    tsvClass: "number",
    tsvFiles: FILES,
  },
  mnli: {
    title: "MNLI",
    labels: ["entailment", "neutral", "contradiction"],
    metrics: ["accuracy"],
    columns: ["premise", "hypothesis"],
    tsvColumns: ["sentence1", "sentence2"],
    tsvLabel: "gold_label",
    tsvClass: "name",
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
    tsvColumns: ["question", "sentence"],
  },
  rte: {
    ...ENTAILMENT,
    title: "RTE",
    columns: ["sentence1", "sentence2"],
    tsvColumns: ["sentence1", "sentence2"],
  },
  wnli: {
    title: "WNLI",
    labels: ["not_entailment", "entailment"],
    metrics: ["accuracy"],
    columns: ["sentence1", "sentence2"],
    tsvColumns: ["sentence1", "sentence2"],
    tsvLabel: "label",
    tsvClass: "number",
    tsvFiles: FILES,
  },
  ax: {
    title: "AX",
    tsvFolder: "diagnostic",
    labels: ["entailment", "neutral", "contradiction"],
    metrics: ["matthews"],
    columns: ["premise", "hypothesis"],
    tsvColumns: ["sentence1", "sentence2"],
    tsvLabel: "label",
    tsvClass: "name",
    tsvFiles: { test: "diagnostic.tsv" },
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
 * Metrics of a data set, the main metric first: those of GLUE for its tasks,
 * otherwise by the kind of labels.
 *
 * @param labels Class names; null for a regression.
 */
export function metricsOf(
  task: string,
  labels: readonly string[] | null,
): readonly MetricName[] {
  const known = glueTask(task);
  if (known !== undefined) return known.metrics;
  if (labels === null) return ["pearson", "spearman"];
  return labels.length === 2 ? ["accuracy", "f1"] : ["accuracy"];
}

/** Whether a split is a test set, whose labels the benchmark does not publish. */
export function isTestSplit(split: string): boolean {
  return split.startsWith("test");
}

/** Names of splits, including MNLI's two halves and the names for both together. */
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

/** Splits of a task that a name stands for: `validation` stands for both of MNLI's. */
export function splitsNamed(
  task: GlueTask,
  name: SplitName,
): readonly string[] {
  return Object.keys(task.tsvFiles).filter((split) =>
    split === name || split.startsWith(`${name}_`)
  );
}
