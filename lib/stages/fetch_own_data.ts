import { taskFields } from "../artifacts/classes.ts";
import { CORPUS, writeDataset } from "../artifacts/dataset.ts";
import {
  describeExamples,
  drawHoldout,
  type Example,
  isLabelled,
  labelsOf as targetsOf,
} from "../data/example.ts";
import { quotedTexts, sharedTexts, withoutRepeated } from "../data/faults.ts";
import {
  areLabelled,
  className,
  describeValue,
  isEmpty,
  listIn,
  nameClasses,
  placesOf,
  toExamples,
} from "../data/labels.ts";
import {
  checkHeader,
  readTable,
  recordedClasses,
  type Row,
} from "../data/table.ts";
import { type ColumnGuesses, guessColumns } from "../data/inspect_table.ts";
import { likelySeparator } from "../data/label_cells.ts";
import { quote, quoteAll } from "../data/text_file.ts";
import { type Setting, SettingError } from "../data/setting_error.ts";
import { openDataSet } from "../hub/data_files.ts";
import { isDataSource, parseDataSource } from "../hub/data_source.ts";
import type { Stage } from "../pipeline/task.ts";
import { markedLabels } from "../problems/label_lists.ts";
import { columnOf, labelsOf } from "../problems/registry.ts";
import { textsIn } from "../problems/similarity.ts";
import { hubOptions } from "./hub.ts";
import { columnsIn, type OwnData } from "./own_data.ts";

type FetchStage = Stage<OwnData>;

/** Reads the data of a stage and writes an artifact of kind `dataset`. */
export async function fetchData(stage: FetchStage): Promise<void> {
  const { params, output, log } = stage;
  const { texts, learnt } = columnsIn(params);
  const columns = [...texts, ...learnt];
  const files = await findFiles(stage);
  const { names, ...found } = await readRows(files.train!, columns, [], params);
  const given = chosenRows("train", found.rows, stage);
  const problem = problemOfRows(given, params);
  const isGuessed = problem === "classification" && names === undefined &&
    !params.classes;
  if (isGuessed) checkSingleLabels(given, params);
  const column = columnOf(problem);
  const faults: string[] = [];
  /** Places without the paths of files: results hold none of a user. */
  const linesIn = (text: string) =>
    Object.values(files).flat().reduce(
      (text, { path }) =>
        text.replaceAll(`${path}:`, "line ").replaceAll(`"${path}", `, ""),
      text,
    );
  const prepare = column.reader?.({
    separator: params.separator ?? undefined,
    classes: params.classes ?? undefined,
    repairs: params.tags === "repair",
    range: params.scoreRange ?? undefined,
    log,
    fault: (what) => faults.push(linesIn(what)),
  }) ?? ((rows: readonly Row[]) => rows);
  const rows = prepare(given, true);
  const labels = params.classes ?? params.labels ??
    (column.reader ? undefined : names) ?? column.namesIn(rows);
  const areRecorded = names !== undefined;
  const areNamed = Boolean(params.classes ?? params.labels) || areRecorded;
  const reader = { ...labelsOf({ problem, labels }), areRecorded };
  /** Rows by split. */
  const read: Record<string, readonly Row[]> = {};
  /** The examples of a split; of one with labels, those that have one. */
  const examplesOf = (
    split: string,
    rows: readonly Row[],
    hasLabels = true,
  ) => {
    const isRead = hasLabels || column.reader;
    const all = toExamples(rows, isRead ? reader : undefined);
    const isKept = (example: Example) => !hasLabels || isLabelled(example);
    const kept = all.filter(isKept);
    const own = rows.filter((_, i) => isKept(all[i]!));
    read[split] = own;
    const isTraining = split === "train";
    const found = [
      ...isTraining ? [] : sharedTexts(own, read.train!, "train"),
      ...hasLabels ? reader.faults(own, { areNamed, isTraining }) : [],
      ...files[split]!.some(({ path }) => /\.tsv(\.gz)?$/i.test(path))
        ? quotedTexts(own)
        : [],
    ];
    faults.push(...found.map((it) => linesIn(`${split}: ${it}`)));
    if (kept.length === 0) {
      const { place } = rows.at(-1)!;
      throw new SyntaxError(
        `The split "${split}" has no labels: all are -1 (last row: ${place})`,
      );
    }
    const counts = `${all.length - kept.length} of ${all.length}`;
    if (kept.length < all.length) {
      log(`${split}: ${counts} examples have no label (-1) and are left out`);
    }
    return kept;
  };

  const train = examplesOf("train", rows);
  const splits: Record<string, readonly Example[]> = { train };
  if (files.validation) {
    const { rows } = await readRows(files.validation, columns, [], params);
    const given = chosenRows("validation", rows, stage);
    splits.validation = examplesOf("validation", prepare(given, true));
  } else if (params.holdout) {
    const { holdout, seed } = params;
    const held = await drawHoldout(
      train,
      holdout,
      seed,
      reader.strata,
      reader.heldTogether,
    );
    if (held.size === 0) {
      throw new RangeError(
        `"${params.files.train}" has too few different texts for a holdout: add rows, or name a file of them by -S validation=FILE`,
      );
    }
    splits.train = train.filter((example) => !held.has(example));
    splits.validation = train.filter((example) => held.has(example));
  }
  // Those of the other splits are said where these are written.
  if (params.only) faults.length = 0;
  if (files.test) {
    const { rows } = await readRows(files.test, texts, learnt, params);
    const hasLabels = areLabelled(rows, read.train!);
    if (params.only && !hasLabels) {
      throw new SyntaxError(
        `"${params.files.test}" has no labels, by which a test set is scored: name a file that has them, or predict them by deno task predict`,
      );
    }
    const given = hasLabels ? chosenRows("test", rows, stage) : rows;
    splits.test = examplesOf("test", prepare(given, hasLabels), hasLabels);
  }
  if (files.corpus) {
    const corpus = await readCorpus(files.corpus, params);
    const searched = params.only ? [params.only] : ["validation", "test"];
    for (const split of searched) {
      // A holdout has the rows of the training file.
      const rows = read[split] ?? read.train!;
      const found = lackingAnswers(splits[split] ?? [], rows, corpus);
      faults.push(...found.map((it) => linesIn(`${split}: ${it}`)));
    }
    splits[CORPUS] = corpus;
  }
  const written: Record<string, readonly Example[]> = {};
  for (const [split, examples] of Object.entries(splits)) {
    const isWritten = params.only === undefined || params.only === split ||
      split === CORPUS;
    if (isWritten) written[split] = examples;
  }
  for (const [split, examples] of Object.entries(written)) {
    log(`${split}: ${describeExamples(examples, reader.describe)}`);
  }
  for (const fault of faults) log(fault);
  if (splits.validation === undefined && !params.only) {
    log(
      "No validation split, on which stages evaluate by default: hold some rows out by -S holdout=0.1, or name a file of them by -S validation=FILE",
    );
  }
  await writeDataset(output, {
    ...taskFields({
      task: params.name,
      problem,
      labels,
      words: column.wordForm?.(rows),
      isChat: params.messages ? true : undefined,
      sequences: params.negatives ? texts.length : undefined,
    }),
    metrics: reader.usualMetrics(targetsOf(splits.train!)),
    columns: [...texts.length > 0 ? texts : columns],
    ...(faults.length > 0 && { faults }),
  }, written);
}

/**
 * Texts among which answers are searched.
 *
 * @throws {SyntaxError} With the place of an empty one.
 */
async function readCorpus(
  files: readonly SplitFile[],
  params: OwnData,
): Promise<Example[]> {
  const { rows } = await readRows(files, [params.positive!], [], params);
  return rows.flatMap(({ values, place }) => textsIn(values, place))
    .map((text, index) => ({ index, text }));
}

/** The rows whose answer is none of the texts of a corpus. */
function lackingAnswers(
  examples: readonly Example[],
  rows: readonly Row[],
  corpus: readonly Example[],
): string[] {
  const texts = new Set(corpus.map(({ text }) => text));
  const lacking = examples.filter(({ others }) => !texts.has(others![0]!))
    .map(({ index }) => rows[index]!);
  return lacking.length === 0 ? [] : [
    `${lacking.length} of ${examples.length} rows with an answer that the corpus lacks (${
      placesOf(lacking, 5)
    }); it is searched among as well: add it to the corpus, or correct what differs`,
  ];
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

/**
 * Checks that the files of the user have the columns that are named.
 *
 * @throws {SyntaxError} Naming the file and the parameter of the column, if one lacks it.
 */
export async function checkColumns(params: OwnData): Promise<void> {
  const { texts, learnt } = columnsIn(params);
  for (const [split, file] of Object.entries(params.files)) {
    if (!file || isDataSource(file)) continue;
    const mayLackLabels = split === "test" && !params.only;
    const labelled = mayLackLabels ? texts : [...texts, ...learnt];
    const columns = split === CORPUS ? [params.positive!] : labelled;
    await advising(
      file,
      params,
      (remedy) => checkHeader(file, columns, { ...formOf(params), remedy }),
    );
  }
}

/**
 * Reads a file, and says how to name another column if it lacks one.
 *
 * @param read Gets what is called with the column that is lacking
 */
async function advising<T>(
  path: string,
  params: OwnData,
  read: (remedy: (column: string) => string) => Promise<T>,
): Promise<T> {
  let lacking: string | undefined;
  try {
    return await read((column) => {
      lacking = column;
      return "";
    });
  } catch (error) {
    if (lacking === undefined || !(error instanceof SyntaxError)) throw error;
    // Contents are read only now: a header does not tell ids from texts.
    const guesses = await guessColumns(path, params.encoding);
    const remedy = remedyFor(lacking, params, guesses);
    const message = `${error.message}: ${remedy.text}`;
    const options = { cause: error };
    throw remedy.setting
      ? new SettingError(message, remedy.setting, options)
      : new SyntaxError(message, options);
  }
}

/** What the column of a parameter holds. */
const CONTENTS: Readonly<Record<string, string>> = {
  text: "texts",
  pair: "second texts",
  label: "labels",
  labels: "labels, one for each",
  completion: "texts to write",
  messages: "messages",
  positive: "texts that are near the first ones",
  score: "scores",
};

/** How to name another column than one that a file lacks. */
interface ColumnRemedy {
  readonly text: string;
  /** Names one of its columns. */
  readonly setting?: Setting;
}

function remedyFor(
  lacking: string,
  params: OwnData,
  { text, label, marks, written }: ColumnGuesses,
): ColumnRemedy {
  const { named, texts, learnt } = columnsIn(params);
  const isToWrite = params.completion || params.messages;
  if (written !== undefined && !isToWrite) {
    const settings = [
      `train=${params.files.train}`,
      "validation=null",
      ...written,
    ];
    const words = settings.map((it) => `-S ${/\s/.test(it) ? `"${it}"` : it}`);
    const remedy =
      "deno task init makes a pipeline for them, or run the pipeline e2e with";
    return { text: `it has texts to write: ${remedy} ${words.join(" ")}` };
  }
  const [key] = Object.entries(named).find(([, it]) => it === lacking) ??
    [params.negatives ? "negatives" : "labels"];
  const areMarks = key === "label" && marks.length > 0 &&
    marks.every((name) => !texts.includes(name));
  if (areMarks) {
    const list = `[${marks.map(yamlName).join(", ")}]`;
    return {
      text:
        `it has columns of 0 and 1, which may be a label each: name them by -S labels='${list}'`,
      setting: { name: "labels", value: list },
    };
  }
  if (key === "labels") {
    return { text: "name the columns of 0 and 1 by -S labels=[...]" };
  }
  if (key === "negatives") {
    return {
      text: "name the columns of texts that are not near by -S negatives=[...]",
    };
  }
  const isPrompt = isToWrite && key === "text";
  const what = isPrompt ? "prompts" : CONTENTS[key!];
  const isFree = (name: string) => ![...texts, ...learnt].includes(name);
  const isLearnt = key === "label" || key === "score";
  const free = (isLearnt ? label : text).filter(isFree);
  if (isLearnt && free.length > 1) {
    const choice = `-S ${key}=COLUMN: ${quoteAll(free)} may be it`;
    return { text: `name the column of the ${what}, by ${choice}` };
  }
  const parameter = isPrompt ? "prompt" : key!;
  const [name] = free;
  const advice = `name the column of the ${what}, as by -S ${parameter}=`;
  if (name === undefined) return { text: `${advice}COLUMN` };
  const value = /\s/.test(name) ? `"${name}"` : name;
  const whole = `${advice}${value}`;
  // Other names would need quotes in YAML.
  return /^[\p{L}\w ./@-]+$/u.test(name)
    ? { text: whole, setting: { name: parameter, value: name } }
    : { text: whole };
}

/** A name as an item of a list in YAML. */
function yamlName(name: string): string {
  return /^[\p{L}_][\p{L}\p{N}_ -]*$/u.test(name) ? name : JSON.stringify(name);
}

/** How a table is read. */
function formOf(params: OwnData) {
  const { learnt } = columnsIn(params);
  const { completion, encoding } = params;
  return { encoding, numbers: completion ? [] : learnt };
}

/** The rows of a split that have a label, without repeated ones if these are to be dropped. */
function chosenRows(
  split: string,
  rows: readonly Row[],
  stage: FetchStage,
): readonly Row[] {
  const labelled = withLabels(split, rows, stage);
  if (stage.params.repeated === "keep") return labelled;
  const kept = withoutRepeated(labelled);
  const dropped = labelled.length - kept.length;
  if (dropped > 0) {
    stage.log(
      `${split}: ${dropped} of ${labelled.length} rows repeat an earlier one and are left out`,
    );
  }
  return kept;
}

/**
 * The rows of a split that have a label.
 *
 * @throws {SyntaxError} With the places of the others, unless they are to be skipped.
 */
function withLabels(
  split: string,
  rows: readonly Row[],
  { params, log }: FetchStage,
): readonly Row[] {
  const { missing, completion, messages, separator, labels } = params;
  if (missing === "none") return rows;
  const { positive } = params;
  const ofLast = completion ?? messages ? "text to write" : "label";
  const what = positive ? "value in one of their columns" : ofLast;
  const lacks = ({ values }: Row) =>
    positive ? values.some(isEmpty) : isEmpty(values.at(-1));
  const lacking = rows.filter(lacks);
  if (lacking.length === 0) return rows;
  const counts = `${lacking.length} of ${rows.length}`;
  const places = placesOf(lacking);
  if (missing === "skip" && lacking.length < rows.length) {
    log(`${split}: ${counts} rows have no ${what} and are left out: ${places}`);
    return rows.filter((row) => !lacks(row));
  }
  const orNone = separator ?? labels
    ? ", or if they have none, -S missing=none"
    : "";
  throw new SettingError(
    `${split}: ${counts} rows have no ${what}: ${places}; complete them, or leave them out by -S missing=skip${orNone}`,
    { name: "missing", value: "skip" },
  );
}

/** A file of a split. */
interface SplitFile {
  readonly path: string;
  /** Its name in messages: the path of the user's file, or the data set of the hub and the path in it. */
  readonly title: string;
}

/**
 * Reads the rows of a split, and the names of its classes if the parquet files record them.
 *
 * @throws {SyntaxError} Naming the file, if it is invalid.
 */
async function readRows(
  files: readonly SplitFile[],
  required: readonly string[],
  optional: readonly string[],
  params: OwnData,
) {
  const { learnt } = columnsIn(params);
  const tables = [];
  let names: readonly string[] | undefined;
  for (const { path, title } of files) {
    const rows = await advising(path, params, (remedy) => {
      const form = { ...formOf(params), title, remedy };
      return readTable(path, required, optional, form);
    });
    const [column] = learnt;
    const isClass = column !== undefined && !params.regression &&
      !params.labels && !params.score;
    const own = isClass
      ? await recordedClasses(path, column, title)
      : undefined;
    names ??= own;
    const named = own ? nameClasses(rows, own) : rows;
    tables.push(params.labels ? markedLabels(named, params.labels) : named);
  }
  return { rows: tables.flat(), names };
}

/** Files by split: the user's own, and those of the hub, which are fetched. */
async function findFiles(stage: FetchStage) {
  const { params: { files }, log } = stage;
  const found: Record<string, readonly SplitFile[]> = {};
  for (const [split, file] of Object.entries(files)) {
    if (!file) continue;
    if (!isDataSource(file)) {
      found[split] = [{ path: file, title: file }];
      continue;
    }
    const source = parseDataSource(file);
    const data = await openDataSet({ split, ...source }, hubOptions(stage));
    log(data.title);
    const fetch = async (wanted: string) => {
      const paths = await data.fetch(wanted);
      return data.splits.get(wanted)!.map((path, i) => (
        { path: paths[i]!, title: `${source.name}/${path}` }
      ));
    };
    found[split] = await fetch(source.split ?? split);
    if (split !== "train" || source.split !== undefined) continue;
    for (const other of ["validation", "test"] as const) {
      if (files[other] || !data.splits.has(other)) continue;
      found[other] = await fetch(other);
    }
  }
  return found;
}
