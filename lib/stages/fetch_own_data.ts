import { taskFields } from "../artifacts/classes.ts";
import { CORPUS, writeDataset } from "../artifacts/dataset.ts";
import {
  describeExamples,
  drawHoldout,
  type Example,
  isLabelled,
  labelsOf as targetsOf,
} from "../data/example.ts";
import { quotedTexts, sharedTexts } from "../data/faults.ts";
import {
  areLabelled,
  className,
  describeValue,
  listIn,
  placesOf,
  toExamples,
} from "../data/labels.ts";
import { likelySeparator } from "../data/label_cells.ts";
import { SettingError } from "../data/setting_error.ts";
import type { Row } from "../data/columns.ts";
import { quote } from "../data/text_file.ts";
import type { LabelColumn, LabelReader } from "../problems/problem.ts";
import { columnOf, labelsOf } from "../problems/registry.ts";
import { textsIn } from "../problems/similarity.ts";
import { columnsIn, type OwnData } from "./own_data.ts";
import {
  chosenRows,
  type FetchStage,
  findFiles,
  type FoundFiles,
  readRows,
  type Table,
} from "./own_rows.ts";

/** Reads the data of a stage and writes an artifact of kind `dataset`. */
export async function fetchData(stage: FetchStage): Promise<void> {
  const { params } = stage;
  const files = await findFiles(stage);
  const training = await readRows(files.train!, allColumns(params), [], params);
  const reading = startReading(stage, files, training);
  if (files.validation) await readValidation(files.validation, reading);
  else if (params.holdout) await holdOut(params.holdout, reading);
  // Those of the other splits are said where these are written.
  if (params.only) reading.faults.length = 0;
  if (files.test) await readTest(files.test, reading);
  if (files.corpus) await readCorpus(files.corpus, reading);
  await writeSplits(reading);
}

/** The columns of texts, and those of their targets. */
function allColumns(params: OwnData): string[] {
  const { texts, targets } = columnsIn(params);
  return [...texts, ...targets];
}

/** What has been read of own data. */
interface Reading {
  readonly stage: FetchStage;
  readonly files: FoundFiles;
  readonly problem: string;
  /** Names of the classes; null if labels are no classes. */
  readonly labels: readonly string[] | null;
  readonly column: LabelColumn;
  /** Makes rows of a text and a label of those of a file. */
  readonly prepare: (
    rows: readonly Row[],
    isLabelled: boolean,
  ) => readonly Row[];
  readonly reader: LabelReader & { readonly areRecorded: boolean };
  /** True if the classes have the names that the user or the files give. */
  readonly areNamed: boolean;
  /** Prepared rows of the training file, with those that have no label. */
  readonly trainingRows: readonly Row[];
  /** Rows by split; of one with labels, those that have one. */
  readonly rows: Record<string, readonly Row[]>;
  /** Examples by split. */
  readonly splits: Record<string, readonly Example[]>;
  /** What is wrong with the data, though they are taken. */
  readonly faults: string[];
}

/** Reads the training split, by which the problem and its classes are known. */
function startReading(
  stage: FetchStage,
  files: FoundFiles,
  { rows, names }: Table,
): Reading {
  const { params, log } = stage;
  const labelled = chosenRows("train", rows, stage);
  const problem = problemOfRows(labelled, params);
  const isGuessed = problem === "classification" && names === undefined &&
    !params.classes;
  if (isGuessed) checkSingleLabels(labelled, params);
  const faults: string[] = [];
  const column = columnOf(problem);
  const prepare = column.reader?.({
    separator: params.separator ?? undefined,
    classes: params.classes ?? undefined,
    repairs: params.tags === "repair",
    range: params.scoreRange ?? undefined,
    log,
    fault: (what) => faults.push(withoutPaths(what, files)),
  }) ?? ((rows: readonly Row[]) => rows);
  const trainingRows = prepare(labelled, true);
  const labels = params.classes ?? params.labels ??
    (column.reader ? undefined : names) ?? column.namesIn(trainingRows);
  const areRecorded = names !== undefined;
  const reading: Reading = {
    stage,
    files,
    problem,
    labels,
    column,
    prepare,
    reader: { ...labelsOf({ problem, labels }), areRecorded },
    areNamed: Boolean(params.classes ?? params.labels) || areRecorded,
    trainingRows,
    rows: {},
    splits: {},
    faults,
  };
  addSplit("train", trainingRows, true, reading);
  return reading;
}

/** A fault without the paths of files: results hold none of a user. */
function withoutPaths(fault: string, files: FoundFiles): string {
  let text = fault;
  for (const { path } of Object.values(files).flat()) {
    text = text.replaceAll(`${path}:`, "line ").replaceAll(`"${path}", `, "");
  }
  return text;
}

/**
 * Makes the examples of a split, of one with labels those that have one, and
 * notes what is wrong with them.
 *
 * @throws {SyntaxError} If none has a label.
 */
function addSplit(
  split: string,
  rows: readonly Row[],
  hasLabels: boolean,
  reading: Reading,
): void {
  const { files, column, reader, areNamed, faults, stage: { log } } = reading;
  const isRead = hasLabels || column.reader;
  const examples = toExamples(rows, isRead ? reader : undefined);
  const isKept = (example: Example) => !hasLabels || isLabelled(example);
  const kept = examples.filter(isKept);
  const keptRows = rows.filter((_, i) => isKept(examples[i]!));
  reading.rows[split] = keptRows;
  const isTraining = split === "train";
  const isTsv = files[split]!.some(({ path }) => /\.tsv(\.gz)?$/i.test(path));
  const inSplit = [
    ...isTraining ? [] : sharedTexts(keptRows, reading.rows.train!, "train"),
    ...hasLabels ? reader.faults(keptRows, { areNamed, isTraining }) : [],
    ...isTsv ? quotedTexts(keptRows) : [],
  ];
  faults.push(...inSplit.map((it) => withoutPaths(`${split}: ${it}`, files)));
  if (kept.length === 0) {
    const { place } = rows.at(-1)!;
    throw new SyntaxError(
      `The split "${split}" has no labels: all are -1 (last row: ${place})`,
    );
  }
  if (kept.length < examples.length) {
    const counts = `${examples.length - kept.length} of ${examples.length}`;
    log(`${split}: ${counts} examples have no label (-1) and are left out`);
  }
  reading.splits[split] = kept;
}

async function readValidation(
  files: FoundFiles[string],
  reading: Reading,
): Promise<void> {
  const { stage, prepare } = reading;
  const { params } = stage;
  const { rows } = await readRows(files, allColumns(params), [], params);
  const labelled = chosenRows("validation", rows, stage);
  addSplit("validation", prepare(labelled, true), true, reading);
}

/**
 * Moves a share of the training split to the validation split.
 *
 * @throws {RangeError} If it has too few different texts.
 */
async function holdOut(share: number, reading: Reading): Promise<void> {
  const { stage: { params }, reader, splits } = reading;
  const examples = splits.train!;
  const held = await drawHoldout(
    examples,
    share,
    params.seed,
    reader.strata,
    reader.heldTogether,
  );
  const { heldTogether } = reader;
  // One query alone would always find its answers.
  const isAlone = heldTogether !== undefined &&
    new Set([...held].map(heldTogether)).size < 2;
  if (held.size === 0 || isAlone) {
    throw new RangeError(
      `"${params.files.train}" has too few different texts for a holdout: add rows, or name a file of them by -S validation=FILE`,
    );
  }
  splits.train = examples.filter((example) => !held.has(example));
  splits.validation = examples.filter((example) => held.has(example));
}

/**
 * Reads the test split, which may have no labels.
 *
 * @throws {SyntaxError} If it has none, and is read to be scored.
 */
async function readTest(
  files: FoundFiles[string],
  reading: Reading,
): Promise<void> {
  const { stage, prepare } = reading;
  const { params } = stage;
  const { texts, targets } = columnsIn(params);
  const { rows } = await readRows(files, texts, targets, params);
  const hasLabels = areLabelled(rows, reading.rows.train!);
  if (params.only && !hasLabels) {
    throw new SyntaxError(
      `"${params.files.test}" has no labels, by which a test set is scored: name a file that has them, or predict them by deno task predict`,
    );
  }
  const chosen = hasLabels ? chosenRows("test", rows, stage) : rows;
  addSplit("test", prepare(chosen, hasLabels), hasLabels, reading);
}

/**
 * Reads the texts among which answers are searched.
 *
 * @throws {SyntaxError} With the place of an empty one.
 */
async function readCorpus(
  files: FoundFiles[string],
  reading: Reading,
): Promise<void> {
  const { stage: { params }, splits, faults } = reading;
  const { rows } = await readRows(files, [params.positive!], [], params);
  const corpus = rows.flatMap(({ values, place }) => textsIn(values, place))
    .map((text, index) => ({ index, text }));
  const searched = params.only ? [params.only] : ["validation", "test"];
  for (const split of searched) {
    // A holdout has the rows of the training file.
    const ofSplit = reading.rows[split] ?? reading.rows.train!;
    const lacking = lackingAnswers(splits[split] ?? [], ofSplit, corpus);
    if (lacking === undefined) continue;
    faults.push(withoutPaths(`${split}: ${lacking}`, reading.files));
  }
  splits[CORPUS] = corpus;
}

/** Says which rows have an answer that is none of the texts of a corpus. */
function lackingAnswers(
  examples: readonly Example[],
  rows: readonly Row[],
  corpus: readonly Example[],
): string | undefined {
  const texts = new Set(corpus.map(({ text }) => text));
  const lacking = examples.filter(({ others }) => !texts.has(others![0]!))
    .map(({ index }) => rows[index]!);
  if (lacking.length === 0) return undefined;
  const places = placesOf(lacking, 5);
  return `${lacking.length} of ${examples.length} rows with an answer that the corpus lacks (${places}); it is searched among as well: add it to the corpus, or correct what differs`;
}

/** Logs what was read, and writes the splits that are asked for. */
async function writeSplits(reading: Reading): Promise<void> {
  const { stage, problem, labels, column, reader, splits, faults } = reading;
  const { params, output, log } = stage;
  const written: Record<string, readonly Example[]> = {};
  for (const [split, examples] of Object.entries(splits)) {
    const isWritten = params.only === undefined || params.only === split ||
      split === CORPUS;
    if (!isWritten) continue;
    written[split] = examples;
    log(`${split}: ${describeExamples(examples, reader.describe)}`);
  }
  for (const fault of faults) log(fault);
  if (splits.validation === undefined && !params.only) {
    log(
      "No validation split, on which stages evaluate by default: hold some rows out by -S holdout=0.1, or name a file of them by -S validation=FILE",
    );
  }
  const { texts, targets } = columnsIn(params);
  await writeDataset(output, {
    ...taskFields({
      task: params.name,
      problem,
      labels,
      words: column.wordForm?.(reading.trainingRows),
      isChat: params.messages ? true : undefined,
      sequences: params.negatives ? texts.length : undefined,
    }),
    metrics: reader.usualMetrics(targetsOf(splits.train!)),
    columns: columnsOf(texts.length > 0 ? texts : targets, params),
    ...(faults.length > 0 && { faults }),
  }, written);
}

/** The column of each text of an example; those of a group share one. */
function columnsOf(read: readonly string[], { group }: OwnData): string[] {
  return group ? [...read, ...read] : [...read];
}

/**
 * The problem of a training file: lists of labels are of words if these are a
 * list as well, or if they are spans; otherwise a text has them all.
 */
function problemOfRows(
  rows: readonly Row[],
  { text, pair, labels, separator, regression, ...params }: OwnData,
): string {
  if (params.completion || params.messages) return "language";
  if (params.positive) return params.score ? "similarity" : "retrieval";
  if (params.group) return "groups";
  if (labels || separator) return "multi-label";
  if (listIn(rows[0]!.values.at(-1)) === undefined) {
    return regression ? "regression" : "classification";
  }
  const items = rows.flatMap(({ values }) => listIn(values.at(-1)) ?? []);
  const areNames = items.length > 0 &&
    items.every((it) => className(it) !== undefined);
  const isText = rows.every(({ values }) => typeof values[0] === "string");
  if (areNames && isText && !regression) return "multi-label";
  if (!regression && !pair) return "tokens";
  const other = pair ? "pair" : "regression";
  throw new SyntaxError(
    `${
      rows[0]!.place
    }: Lists of labels are those of words in the column "${text}": leave out "${other}"`,
  );
}

/**
 * Checks that a text has one class, and not several labels.
 *
 * @throws {SettingError} If a column looks like lists of labels, with the
 * profile that reads them.
 */
function checkSingleLabels(rows: readonly Row[], { label }: OwnData): void {
  const separator = likelySeparator(rows.map(({ values }) => values.at(-1)));
  if (separator === undefined) return;
  const first = rows.find(({ values }) =>
    separator === "auto" || String(values.at(-1)).includes(separator)
  )!;
  const form = separator === "auto"
    ? "lists in JSON"
    : `with ${quote(separator)} between them`;
  throw new SettingError(
    `${first.place}: A text seems to have several labels in the column "${label}", ${form}, as in ${
      describeValue(first.values.at(-1))
    }: read them by --profile labels of own-data, which is -S separator=auto; if each value is one class, list all by -S classes=[...]`,
    { name: "separator", value: "auto" },
  );
}
