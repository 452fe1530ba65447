import { taskFields } from "../artifacts/classes.ts";
import { writeDataset } from "../artifacts/dataset.ts";
import {
  describeExamples,
  drawHoldout,
  type Example,
} from "../data/example.ts";
import { quotedTexts, sharedTexts } from "../data/faults.ts";
import {
  areLabelled,
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
import { openDataSet } from "../hub/data_files.ts";
import { isDataSource, parseDataSource } from "../hub/data_source.ts";
import type { Stage } from "../pipeline/task.ts";
import { columnOf, labelsOf } from "../problems/registry.ts";
import { hubOptions } from "./hub.ts";

type FetchStage = Stage<{
  readonly name: string;
  /** A file of the user, or a data set of the hub, by split. */
  readonly files: {
    readonly train: string;
    readonly validation?: string | null | undefined;
    readonly test?: string | null | undefined;
  };
  readonly text: string;
  readonly pair?: string | null | undefined;
  readonly label: string;
  readonly completion?: string | null | undefined;
  readonly messages?: string | null | undefined;
  readonly regression: boolean;
  readonly classes?: readonly string[] | null | undefined;
  readonly holdout?: number | null | undefined;
  readonly seed: number;
  readonly encoding: string;
  readonly missing: "refuse" | "skip";
  readonly tags: "refuse" | "repair";
}>;

/** Reads the data of a stage and writes an artifact of kind `dataset`. */
export async function fetchData(stage: FetchStage): Promise<void> {
  const { params, output, log } = stage;
  const { texts, learnt } = columnsIn(params);
  const files = await findFiles(stage);
  const columns = [...texts, learnt];
  const { names, ...found } = await readRows(files.train!, columns, [], params);
  const given = withLabels("train", found.rows, stage);
  const problem = problemOfRows(given, params);
  const column = columnOf(problem);
  const faults: string[] = [];
  /** Places without the paths of files: results hold none of a user. */
  const linesIn = (text: string) =>
    Object.values(files).flat().reduce(
      (text, file) =>
        text.replace(`${file!.path}:`, "line ").replace(
          `"${file!.path}", `,
          "",
        ),
      text,
    );
  const prepare = column.reader?.({
    repairs: params.tags === "repair",
    log,
    fault: (what) => faults.push(linesIn(what)),
  }) ?? ((rows: readonly Row[]) => rows);
  const rows = prepare(given, true);
  const labels = params.classes ??
    (column.reader ? undefined : names) ?? column.namesIn(rows);
  const { read: readLabel, ...reader } = labelsOf({ problem, labels });
  const labelling = { read: readLabel, areRecorded: names !== undefined };
  const areNamed = Boolean(params.classes) || names !== undefined;
  /** Rows by split, with the places that faults name. */
  const read: Record<string, readonly Row[]> = {};
  const keep = (split: string, rows: readonly Row[], hasLabels = true) => {
    read[split] = rows.map((row) => ({ ...row, place: linesIn(row.place) }));
    const found = [
      ...split === "train"
        ? []
        : sharedTexts(read[split], read.train!, "train"),
      ...hasLabels
        ? reader.faults(read[split], {
          areNamed,
          isTraining: split === "train",
        })
        : [],
      ...files[split]!.some(({ path }) => /\.tsv(\.gz)?$/i.test(path))
        ? quotedTexts(read[split])
        : [],
    ];
    faults.push(...found.map((it) => `${split}: ${it}`));
  };
  const labelled = (split: string, rows: readonly Row[]) => {
    const all = toExamples(rows, labelling);
    const isLabelled = ({ label, words, completions }: Example) =>
      (label ?? words ?? completions) !== undefined;
    keep(split, rows.filter((_, i) => isLabelled(all[i]!)));
    const found = all.filter(isLabelled);
    if (found.length === 0) {
      const { place } = rows.at(-1)!;
      throw new SyntaxError(
        `The split "${split}" has no labels: all are -1 (last row: ${place})`,
      );
    }
    const counts = `${all.length - found.length} of ${all.length}`;
    if (found.length < all.length) {
      log(`${split}: ${counts} examples have no label (-1) and are left out`);
    }
    return found;
  };

  let train: readonly Example[] = labelled("train", rows);
  let validation: readonly Example[] = [];
  if (files.validation) {
    const { rows } = await readRows(files.validation, columns, [], params);
    const given = withLabels("validation", rows, stage);
    validation = labelled("validation", prepare(given, true));
  } else if (params.holdout) {
    const { holdout, seed } = params;
    const held = await drawHoldout(train, holdout, seed, reader.stratum);
    if (held.size === 0) {
      throw new RangeError(
        `"${params.files.train}" has too few different texts for a holdout: add rows, or name a file of them by -S validation=FILE`,
      );
    }
    validation = train.filter((example) => held.has(example));
    train = train.filter((example) => !held.has(example));
  }
  let test: readonly Example[] = [];
  if (files.test) {
    const found = await readRows(files.test, texts, [learnt], params);
    if (areLabelled(found.rows, read.train!)) {
      test = labelled(
        "test",
        prepare(withLabels("test", found.rows, stage), true),
      );
    } else {
      const rows = prepare(found.rows, false);
      test = toExamples(rows, column.reader && labelling);
      keep("test", rows, false);
    }
  }
  const splits = Object.fromEntries(
    Object.entries({ train, validation, test })
      .filter(([, examples]) => examples.length > 0),
  );
  for (const [split, examples] of Object.entries(splits)) {
    log(`${split}: ${describeExamples(examples, reader.describe)}`);
  }
  for (const fault of faults) log(fault);
  if (validation.length === 0) {
    log(
      "No validation split, on which stages evaluate by default: hold some rows out by -S holdout=0.1, or name a file of them by -S validation=FILE",
    );
  }
  await writeDataset(output, {
    ...taskFields({
      ...{ task: params.name, problem, labels },
      words: column.wordForm?.(rows),
      isChat: params.messages ? true : undefined,
    }),
    metrics: reader.usualMetrics(train.map(({ label }) => label!)),
    columns: texts.length > 0 ? [...texts] : [learnt],
    ...(faults.length > 0 && { faults }),
  }, splits);
}

/** Columns of the texts, and of what is learnt of them, which may be their continuation. */
function columnsIn(
  { text, pair, label, completion, messages }: FetchStage["params"],
): { readonly texts: readonly string[]; readonly learnt: string } {
  if (messages) return { texts: [], learnt: messages };
  return {
    texts: [text, ...pair ? [pair] : []],
    learnt: completion || label,
  };
}

/** The problem of a training file: lists of labels, or of spans, are of words. */
function problemOfRows(
  rows: readonly Row[],
  { text, pair, regression, completion, messages }: FetchStage["params"],
): string {
  if (completion || messages) return "language";
  if (listIn(rows[0]!.values.at(-1)) === undefined) {
    return regression ? "regression" : "classification";
  }
  if (!regression && !pair) return "tokens";
  const [other, { place }] = [pair ? "pair" : "regression", rows[0]!];
  throw new SyntaxError(
    `${place}: Lists of labels are those of words in the column "${text}": leave out "${other}"`,
  );
}

/**
 * Checks that the files of the user have the columns that are named.
 *
 * @throws {SyntaxError} Naming the file and the parameter of the column, if one lacks it.
 */
export async function checkColumns(
  params: FetchStage["params"],
): Promise<void> {
  const { texts, learnt } = columnsIn(params);
  for (const [split, file] of Object.entries(params.files)) {
    if (!file || isDataSource(file)) continue;
    const columns = split === "test" ? texts : [...texts, learnt];
    await checkHeader(file, columns, formOf(params));
  }
}

/** How a table is read, and which parameter names a column that it lacks, with a column that it has. */
function formOf(params: FetchStage["params"]) {
  const { text, pair, completion, messages, encoding } = params;
  const { learnt } = columnsIn(params);
  const remedy = (column: string, header: readonly string[]) => {
    const [key, what] = column === messages
      ? ["messages", "messages"]
      : column === text
      ? ["text", completion ? "prompts" : "texts"]
      : column === pair
      ? ["pair", "second texts"]
      : completion
      ? ["completion", "texts to write"]
      : ["label", "labels"];
    const free = header.filter((it) =>
      ![text, pair, learnt].includes(it) && /^[\w.-]+$/.test(it)
    );
    const name = free.at(column === learnt ? -1 : 0) ?? "COLUMN";
    return `: name the column of the ${what}, as by -S ${key}=${name}`;
  };
  return { encoding, numbers: completion ? [] : [learnt], remedy };
}

/**
 * The rows of a split that have a label.
 *
 * @throws {SyntaxError} With the places of the others, unless they are to be skipped.
 */
function withLabels(
  split: string,
  rows: readonly Row[],
  { params: { missing }, log }: FetchStage,
): readonly Row[] {
  const lacks = ({ values }: Row) => isEmpty(values.at(-1));
  const lacking = rows.filter(lacks);
  if (lacking.length === 0) return rows;
  const counts = `${lacking.length} of ${rows.length}`;
  const places = placesOf(lacking);
  if (missing === "skip" && lacking.length < rows.length) {
    log(`${split}: ${counts} rows have no label and are left out: ${places}`);
    return rows.filter((row) => !lacks(row));
  }
  throw new SyntaxError(
    `${split}: ${counts} rows have no label: ${places}; complete them, or leave them out by -S missing=skip`,
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
  params: FetchStage["params"],
) {
  const { regression } = params;
  const { learnt } = columnsIn(params);
  const tables = [];
  let names: readonly string[] | undefined;
  for (const { path, title } of files) {
    try {
      const rows = (await readTable(path, required, optional, formOf(params)))
        .map((row) => ({ ...row, place: row.place.replace(path, title) }));
      const own = regression ? undefined : await recordedClasses(path, learnt);
      names ??= own;
      tables.push(own ? nameClasses(rows, own) : rows);
    } catch (error) {
      if (title === path || !(error instanceof SyntaxError)) throw error;
      throw new SyntaxError(error.message.replaceAll(path, title), {
        cause: error,
      });
    }
  }
  return { rows: tables.flat(), names };
}

/** Files by split: the user's own, and those of the hub, which are fetched. */
async function findFiles(
  stage: FetchStage,
): Promise<Partial<Record<string, readonly SplitFile[]>>> {
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
      return data.splits.get(wanted)!.map((path, i) => ({
        path: paths[i]!,
        title: `${source.name}/${path}`,
      }));
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
