/**
 * Rows of own data: their files, and what a user is told of those that lack
 * something.
 */
import { CORPUS } from "../artifacts/dataset.ts";
import type { Row } from "../data/columns.ts";
import { withoutRepeated } from "../data/faults.ts";
import { type ColumnGuesses, guessColumns } from "../data/inspect_table.ts";
import { isEmpty, nameClasses, placesOf } from "../data/labels.ts";
import { type Setting, SettingError } from "../data/setting_error.ts";
import { checkHeader, readTable, recordedClasses } from "../data/table.ts";
import { quote, quoteAll } from "../data/text_file.ts";
import { openDataSet } from "../hub/data_files.ts";
import { isDataSource, parseDataSource } from "../hub/data_source.ts";
import type { Stage } from "../pipeline/task.ts";
import { markedLabels } from "../problems/label_lists.ts";
import { hubOptions } from "./hub.ts";
import { columnsIn, type OwnData } from "./own_data.ts";

export type FetchStage = Stage<OwnData>;

/**
 * Checks that the files of the user have the columns that are named.
 *
 * @throws {SyntaxError} Naming the file and the parameter of the column, if one
 * lacks it.
 */
export async function checkColumns(params: OwnData): Promise<void> {
  const { texts, targets } = columnsIn(params);
  for (const [split, file] of Object.entries(params.files)) {
    if (!file || isDataSource(file)) continue;
    const mayLackLabels = split === "test" && !params.only;
    const labelled = mayLackLabels ? texts : [...texts, ...targets];
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
    if (path === params.files.corpus) {
      throw new SyntaxError(
        `${error.message}: texts of a corpus are in the column of the training file: rename a column to ${
          quote(lacking)
        }`,
        { cause: error },
      );
    }
    // Contents are read only now: a header does not tell ids from texts.
    const guesses = await guessColumns(path, params.encoding);
    const near = guesses.text.length < 2
      ? undefined
      : await nearTexts(path, params.encoding);
    const remedy = remedyFor(lacking, params, { ...guesses, near });
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
  group: "groups",
};

/** How to name another column than one that a file lacks. */
interface ColumnRemedy {
  readonly text: string;
  /** Names one of its columns. */
  readonly setting?: Setting;
}

interface Guesses extends ColumnGuesses {
  /** Columns of texts that may belong together, in a table without labels. */
  readonly near: readonly [first: string, second: string] | undefined;
}

async function nearTexts(
  path: string,
  encoding: string | undefined,
): Promise<Guesses["near"]> {
  const { findSimilarTexts } = await import("../data/similar_texts.ts");
  const named = {
    text: undefined,
    pair: undefined,
    label: undefined,
    positive: undefined,
  };
  const columns = await findSimilarTexts(path, { ...named, encoding })
    .catch((error) => {
      // The table may as well have labels of pairs.
      if (error instanceof RangeError) return undefined;
      throw error;
    });
  return columns && [columns.text.name, columns.positive.name];
}

/**
 * Parameters as options of a command: `-S text=question -S "label=my kind"`.
 */
function settingWords(settings: readonly string[]): string {
  const words = settings.map((it) => `-S ${/\s/.test(it) ? `"${it}"` : it}`);
  return words.join(" ");
}

function remedyFor(
  lacking: string,
  params: OwnData,
  { text, label, marks, written, tagged, near }: Guesses,
): ColumnRemedy {
  const { named, texts, targets } = columnsIn(params);
  const isToWrite = params.completion || params.messages;
  if (written !== undefined && !isToWrite) {
    const settings = [
      `train=${params.files.train}`,
      "validation=null",
      ...written,
    ];
    const remedy =
      "deno task init makes a pipeline for them, or run the pipeline e2e with";
    return {
      text: `it has texts to write: ${remedy} ${settingWords(settings)}`,
    };
  }
  const [key] = Object.entries(named).find(([, it]) => it === lacking) ??
    [params.negatives ? "negatives" : "labels"];
  const isClassified = !isToWrite && !params.positive && !params.group;
  if (key === "text" && isClassified && tagged !== undefined) {
    const [words, tags] = tagged;
    const isUsual = words === "tokens" && tags === "tags";
    const names = settingWords([`text=${words}`, `label=${tags}`]);
    const profile =
      "it has words with tags, which --profile tokens of own-data reads";
    return { text: isUsual ? profile : `${profile}, with ${names}` };
  }
  if (key === "text" && isClassified && near !== undefined) {
    const [first, second] = near;
    const names = settingWords([`text=${first}`, `positive=${second}`]);
    return {
      text:
        `if its texts belong together, as questions and answers do, train embeddings for search by --profile similarity of own-data, with ${names}`,
    };
  }
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
  const isFree = (name: string) => ![...texts, ...targets].includes(name);
  const isTarget = ["label", "score", "group"].includes(key!);
  const free = (isTarget ? label : text).filter(isFree);
  if (isTarget && free.length > 1) {
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
  const { targets } = columnsIn(params);
  const { completion, encoding } = params;
  return { encoding, numbers: completion ? [] : targets };
}

/**
 * The rows of a split that have a label, without repeated ones if these are to
 * be dropped.
 */
export function chosenRows(
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
 * @throws {SyntaxError} With the places of the others, unless they are to be
 * skipped.
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
  const ofOne = params.group ? "group" : ofLast;
  const what = positive ? "value in one of their columns" : ofOne;
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
export interface SplitFile {
  readonly path: string;
  /**
   * Its name in messages: the path of the user's file, or the data set of the
   * hub and the path in it.
   */
  readonly title: string;
}

/** The rows of a split. */
export interface Table {
  readonly rows: readonly Row[];
  /** Names of its classes, if Parquet files record them. */
  readonly names: readonly string[] | undefined;
}

/**
 * Reads the rows of a split.
 *
 * @throws {SyntaxError} Naming the file, if it is invalid.
 */
export async function readRows(
  files: readonly SplitFile[],
  required: readonly string[],
  optional: readonly string[],
  params: OwnData,
): Promise<Table> {
  const { targets } = columnsIn(params);
  const tables = [];
  let names: readonly string[] | undefined;
  for (const { path, title } of files) {
    const rows = await advising(path, params, (remedy) => {
      const form = { ...formOf(params), title, remedy };
      return readTable(path, required, optional, form);
    });
    const [column] = targets;
    const isClass = column !== undefined && !params.regression &&
      !params.labels && !params.score && !params.group;
    const recorded = isClass
      ? await recordedClasses(path, column, title)
      : undefined;
    names ??= recorded;
    const named = recorded ? nameClasses(rows, recorded) : rows;
    tables.push(params.labels ? markedLabels(named, params.labels) : named);
  }
  return { rows: tables.flat(), names };
}

/** Files by split: the user's own, and those of the hub, which are fetched. */
export type FoundFiles = Readonly<Record<string, readonly SplitFile[]>>;

/** Finds the files of all splits, and fetches those of the hub. */
export async function findFiles(stage: FetchStage): Promise<FoundFiles> {
  const { params, log } = stage;
  const files: Record<string, readonly SplitFile[]> = {};
  for (const [split, file] of Object.entries(params.files)) {
    if (!file) continue;
    if (!isDataSource(file)) {
      files[split] = [{ path: file, title: file }];
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
    files[split] = await fetch(source.split ?? split);
    if (split !== "train" || source.split !== undefined) continue;
    for (const other of ["validation", "test"] as const) {
      if (params.files[other] || !data.splits.has(other)) continue;
      files[other] = await fetch(other);
    }
  }
  return files;
}
