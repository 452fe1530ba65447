import { shellWord } from "../../files/shell_word.ts";
import {
  type Column,
  estimateTokens,
  inspectTable,
  type TableSummary,
  writtenIn,
} from "../../data/inspect_table.ts";
import {
  className,
  isEmpty,
  type Labelling,
  nameClasses,
  toExamples,
} from "../../data/labels.ts";
import type { Row } from "../../data/columns.ts";
import type { Example } from "../../data/example.ts";
import { findSimilarTexts } from "../../data/similar_texts.ts";
import { columnsOf, readTable, recordedClasses } from "../../data/table.ts";
import { quoteAll } from "../../data/text_file.ts";
import { statIfThere, writeDurably } from "../../files/files.ts";
import { dirname, relative, resolve } from "../../files/paths.ts";
import {
  type Arguments,
  asTyped,
  command,
  invalidValue,
  UsageError,
} from "../arguments/arguments.ts";
import { checkFolder, OWN_DATA, PROJECT } from "../arguments/options.ts";
import { count } from "../terminal/messages.ts";
import { writeOut } from "../terminal/renderer.ts";
import { epochsFor } from "./few_steps.ts";
import { similarStarter, similarSummary } from "./init_similar.ts";
import {
  lengthsOf,
  oneLine,
  openTemplate,
  type Source,
} from "./init_template.ts";
import { schemaText } from "./schema.ts";

/**
 * The JSON Schema of pipelines, which init writes for the editors that its file
 * sends there.
 */
const SCHEMA = "out/pipeline.schema.json";

export const initCommand = command`
  init FILE

  Write a commented pipeline for your own data. FILE is a .tsv, .csv, .jsonl, .json, .conll (or one of these packed as .gz) or .parquet file with a column of texts and one of labels, of lists of labels, or of 0 and 1 for each label, or of words and one of their tags or spans, which are detected by name and content. Texts that belong together, such as questions and answers, train embeddings: where a table has no labels, or columns called anchor and positive, or --positive names the second texts. Nothing is trained.

  Options:
  --text COLUMN  Column of the text
  --pair COLUMN  Column of the second text, for tasks on pairs
  --label COLUMN  Column of the label; with --positive, of a number that says how near the two texts are
  --positive COLUMN  Column of texts that are near those of --text, for embeddings
  --encoding NAME  Encoding of a text file, such as latin1 (default utf-8)
  --to FILE  Pipeline file to write (default: the name of the data in pipelines/)
  -f, --force  Replace the pipeline file if it exists

  Examples:
  reviews.csv  Write pipelines/reviews.yaml
  pairs.tsv --text question --pair answer --label good  Name the columns
  faq.csv --text question --positive answer  Train embeddings that find answers
  reviews.csv --to my/pipeline.yaml  Write it elsewhere
`(async (args) => {
  const table = args.positionals[0]!;
  const target = targetOf(args, table);
  const data = resolve(Deno.cwd(), table);
  checkData(data);
  checkColumnOptions(args);
  const { summary, pipeline } = await starterOf(args, table, data, target.name);
  const schema = resolve(PROJECT, SCHEMA);
  const text = schemaComment(relative(dirname(target.file), schema)) + pipeline;
  write(target.file, text, target.shown, args.has("force"));
  Deno.mkdirSync(dirname(schema), { recursive: true });
  writeDurably(schema, await schemaText(resolve(PROJECT, "tasks")));
  const command = shellWord(args.has("to") ? target.shown : target.name);
  writeOut(asTyped(`${summary.join("\n")}

Wrote ${target.shown}. See what it would do, then run it:

  deno task plan ${command}
  deno task pipeline ${command}
`));
});

/** The pipeline file to write. */
interface Target {
  /** Name of the pipeline. */
  readonly name: string;
  /** Absolute path. */
  readonly file: string;
  /** The path as it was typed, or from the project. */
  readonly shown: string;
}

/** @throws {UsageError} If the name of the file has another ending. */
function targetOf(args: Arguments, table: string): Target {
  const to = args.value("to");
  const name = nameFor(to ?? table);
  const shown = to ?? `pipelines/${name}.yaml`;
  const file = resolve(to === undefined ? PROJECT : Deno.cwd(), shown);
  if (/\.ya?ml$/.test(file)) return { name, file, shown };
  throw invalidValue("to", shown, "expected a file name ending in .yaml");
}

/** @throws {UsageError} If there is no such file. */
function checkData(path: string): void {
  const info = statIfThere(path);
  if (!info) throw new UsageError(`File "${path}" does not exist`);
  if (info.isDirectory) {
    throw new UsageError(`"${path}" is a folder: give a file`);
  }
  if (!info.isFile) {
    throw new UsageError(
      `"${path}" is neither a file nor a folder; write its content to a file`,
    );
  }
}

/** @throws {UsageError} If options name columns of different problems. */
function checkColumnOptions(args: Arguments): void {
  if (args.has("pair") && args.has("positive")) {
    throw new UsageError(
      'Option "--pair" names second texts of one example, and "--positive" those of embeddings: give one of them',
    );
  }
}

/** A pipeline for a table, with what is said of the table. */
interface Starter {
  /** Lines on the columns, and on what the pipeline would refuse. */
  readonly summary: readonly string[];
  /** Text of the pipeline file. */
  readonly pipeline: string;
}

/**
 * The pipeline for a table: of texts to write, of texts that belong together,
 * or of texts with labels.
 *
 * @param table The path as it was typed
 * @param path Its absolute path
 * @param name Name of the pipeline
 * @throws {UsageError} If columns must be named by options.
 */
async function starterOf(
  args: Arguments,
  table: string,
  path: string,
  name: string,
): Promise<Starter> {
  const columns = {
    text: args.value("text"),
    pair: args.value("pair"),
    label: args.value("label"),
    positive: args.value("positive"),
    encoding: args.value("encoding"),
  };
  const { label, positive, encoding } = columns;
  const source = { name, path: projectPath(path), encoding };
  if (label === undefined && positive === undefined) {
    const written = writtenIn(await columnsOf(path, encoding));
    if (written !== undefined) {
      const texts = await textsToWrite(path, written.columns, encoding);
      return {
        summary: writtenSummary(table, texts),
        pipeline: await writingStarter(source, texts),
      };
    }
  }
  const similar = await findSimilarTexts(path, columns).catch(refusal);
  if (similar !== undefined) {
    return {
      summary: await similarSummary(table, path, similar, encoding),
      pipeline: await similarStarter(source, similar),
    };
  }
  const inspected = await inspectTable(path, columns).catch(refusal);
  const labels = await labelsIn(path, inspected, encoding);
  const labelled = { ...inspected, ...labels };
  return {
    summary: labelledSummary(table, path, labelled),
    pipeline: await labelledStarter(source, labelled),
  };
}

/**
 * Comments by which editors find the schema of pipelines.
 *
 * @param path From the folder of the pipeline
 */
function schemaComment(path: string): string {
  // Editors read the address up to the first space, cut it at "#", and decode
  // it.
  const address = path.split("/").map(encodeURIComponent).join("/");
  return `# yaml-language-server: $schema=${address}
# For completion in editors; made again by: deno task schema > ${SCHEMA}
`;
}

/** Throws an error of the table that the user mends by options. */
function refusal(error: unknown): never {
  if (!(error instanceof RangeError)) throw error;
  throw new UsageError(error.message, { cause: error });
}

/**
 * @throws {UsageError} If the file cannot be written, or exists and is not to
 * be replaced.
 */
function write(
  file: string,
  text: string,
  shown: string,
  replace: boolean,
): void {
  const folder = dirname(file);
  checkFolder(folder, "choose another file with --to");
  const existing = statIfThere(file);
  if (existing?.isDirectory) {
    throw new UsageError(
      `"${shown}" is a folder: choose another file with --to`,
    );
  }
  if (existing !== undefined && !replace) {
    throw new UsageError(
      `"${shown}" already exists: choose another file with --to, or replace it with --force`,
    );
  }
  Deno.mkdirSync(folder, { recursive: true });
  writeDurably(file, text);
}

function nameFor(path: string): string {
  const base = path.replace(/^.*[\\/]/, "").replace(/\.\w+(\.gz)?$/i, "");
  const name = base.replaceAll(/[^\w-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "")
    .replace(/-+$/, "").slice(0, 80);
  return name === "" || name === "cache" ? `${name}data` : name;
}

/**
 * A path as it is written in a pipeline: relative to the project if it is
 * inside.
 */
function projectPath(path: string): string {
  const short = relative(PROJECT, path);
  return short.startsWith("..") ? path : `./${short}`;
}

/** The labels of a table. */
interface LabelSummary {
  /** In words, as the pipeline reads them. */
  readonly labels: string;
  /** What the pipeline would refuse, or take and say. */
  readonly problems: readonly string[];
}

/** A table with its labels in words, and what is wrong with it. */
type LabelledTable = TableSummary & LabelSummary;

/** @param file The path as it was typed */
function labelledSummary(
  file: string,
  path: string,
  table: LabelledTable,
): string[] {
  const { rows, columns, text, pair, label, unused } = table;
  const lengths = (it: Column) => `"${oneLine(it.name)}", ${lengthsOf(it)}`;
  const labelled = table.marks === undefined
    ? `label   "${oneLine(label.name)}"`
    : `labels  columns ${
      quoteAll(table.marks.map(({ name }) => oneLine(name)))
    }`;
  const more = unused.length - MAX_LISTED;
  return [
    `${file}: ${count(rows, "row")}, ${count(columns.length, "column")}`,
    `  text    ${lengths(text)}`,
    ...(pair ? [`  pair    ${lengths(pair)}`] : []),
    `  ${labelled}, ${table.labels}`,
    ...unused.slice(0, MAX_LISTED).map((it) => {
      const remedy = `: read it too by --pair ${shellWord(oneLine(it.name))}`;
      return `  unused  ${lengths(it)}${pair ? "" : remedy}`;
    }),
    ...more > 0 ? [`  unused  ${count(more, "more column")} of texts`] : [],
    ...table.problems.map((it) =>
      `  problem ${oneLine(it.replaceAll(path, file))}`
    ),
  ];
}

const MAX_LISTED = 8;

/** Reads the labels of a file. */
async function labelsIn(
  path: string,
  { problem, text, pair, label, separator, marks }: TableSummary,
  encoding: string | undefined,
): Promise<LabelSummary> {
  const { columnOf } = await import("../../problems/registry.ts");
  const { markedLabels } = await import("../../problems/label_lists.ts");
  const { namesIn, of, reader } = columnOf(problem);
  const targets = (marks ?? [label]).map(({ name }) => name);
  const columns = [text, pair].flatMap((it) => it?.name ?? []);
  const form = { encoding, numbers: targets };
  const all = await readTable(path, [...columns, ...targets], [], form);
  const { lacking = [], labelled = [] } = Object.groupBy(
    marks ? markedLabels(all, targets) : all,
    ({ values }) => isEmpty(values.at(-1)) ? "lacking" : "labelled",
  );
  const names = problem === "regression" || marks
    ? undefined
    : await recordedClasses(path, label.name);
  const areNamed = names !== undefined;
  const orNone = problem === "multi-label"
    ? ", or if they have none, -S missing=none"
    : "";
  const problems = lacking.slice(0, 1).map(({ place }) =>
    `rows without a label: ${lacking.length}, first ${place}: complete them, or leave them out by -S missing=skip${orNone}`
  );
  let labels = `${label.distinct} different values`;
  let listForm: string | undefined;
  try {
    const named = names ? nameClasses(labelled, names) : labelled;
    const rows = reader?.({
      separator: separator && "auto",
      repairs: false,
      log: (what) => {
        labels = what.replace("The tags are", "tags")
          .replace("Labels of a text are", "labels");
        listForm = labels;
      },
      fault: (what) => problems.push(what),
    })(named, true) ?? named;
    const readable = reader
      ? rows
      : rows.filter(({ values }) => className(values.at(-1)) !== undefined);
    const classes = (marks && targets) ?? (reader ? undefined : names) ??
      namesIn(readable) ?? [];
    const reading = { ...of(classes), areRecorded: areNamed };
    const { sound, labelValues, refused } = readExamples(rows, reading);
    const more = refused.length - MAX_LISTED;
    problems.push(
      ...refused.slice(0, MAX_LISTED),
      ...more > 0 ? [`${count(more, "more row")} like these`] : [],
      ...reading.faults(sound, {
        areNamed: areNamed || marks !== undefined,
        isTraining: true,
      }),
    );
    if (labelValues.length === 0) return { labels, problems };
    const words = oneLine(reading.describe(labelValues));
    return { labels: listForm ? `${listForm}; ${words}` : words, problems };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return { labels, problems: [...problems, ...error.message.split("\n")] };
  }
}

/** Rows with labels, as far as they are read. */
interface ReadExamples {
  readonly sound: readonly Row[];
  /** Labels of all sound rows, of words one each. */
  readonly labelValues: readonly number[];
  /** Messages on the other rows. */
  readonly refused: readonly string[];
}

function readExamples(
  rows: readonly Row[],
  labelling: Labelling,
): ReadExamples {
  const sound: Row[] = [];
  const labelValues: number[] = [];
  const refused: string[] = [];
  for (const row of rows) {
    try {
      const [example] = toExamples([row], labelling);
      const values = labelsOf(example!);
      if (values === undefined) continue;
      sound.push(row);
      labelValues.push(...values);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      refused.push(error.message);
    }
  }
  return { sound, labelValues, refused };
}

/** The labels of an example, or of its words; undefined if it has none. */
function labelsOf(
  { label, words, targets }: Example,
): readonly number[] | undefined {
  if (targets !== undefined) return targets;
  if (words !== undefined) return words.map(([, , label]) => label!);
  return label === undefined ? undefined : [label];
}

/** A table of texts to write. */
interface TextsToWrite {
  readonly rows: number;
  /** The column of conversations, or those of prompts and of texts. */
  readonly columns: readonly string[];
  /**
   * Maximum tokens of a prompt and its text, estimated as in
   * {@linkcode inspectTable}.
   */
  readonly tokens: number;
}

async function textsToWrite(
  path: string,
  columns: readonly string[],
  encoding: string | undefined,
): Promise<TextsToWrite> {
  const rows = await readTable(path, columns, [], { encoding });
  const texts = rows.map(({ values }) =>
    values.map((it) => typeof it === "string" ? it : JSON.stringify(it))
      .join(" ")
  );
  return { rows: rows.length, columns, tokens: estimateTokens(texts) };
}

function writtenSummary(
  file: string,
  { rows, columns }: TextsToWrite,
): string[] {
  const [first, second] = columns;
  const texts = second === undefined
    ? `  texts   the last messages of "${first}"`
    : `  texts   "${second}", after those of "${first}"`;
  const { epochs, steps } = epochsFor(rows * (1 - HOLDOUT), BATCH);
  return [
    `${file}: ${count(rows, "row")}`,
    texts,
    `  steps   about ${steps} in ${count(epochs, "epoch")}`,
  ];
}

/** Share of texts to write that is held out, and examples of a step. */
const HOLDOUT = 0.1;
const BATCH = 16;

/**
 * The text of a pipeline for a table of texts to write: e2e with its
 * parameters.
 */
async function writingStarter(
  source: Source,
  { rows, columns, tokens }: TextsToWrite,
): Promise<string> {
  const { document, write, set, setList } = await openTemplate("e2e", source);
  const [first, second] = columns;
  const { epochs, steps } = epochsFor(rows * (1 - HOLDOUT), BATCH);
  set("train", source.path);
  set("validation", null);
  set("prompt", second === undefined ? "prompt" : first);
  set("completion", second ?? null);
  set("messages", second === undefined ? first : null);
  if (source.encoding !== undefined) set("encoding", source.encoding);
  set("name", source.name);
  setList("loraRanks", [], "ranks of LoRA to compare with, each one training");
  set("maxLength", tokens);
  const why = `about ${steps} steps: with far fewer, a model copies its prompt`;
  write(["params", "training", "epochs"], epochs, why);
  write(["params", "training", "batchSize"], BATCH);
  write(["params", "holdout"], HOLDOUT);
  return `# A starter for ${source.path}: ${rows} rows of texts to write.
# Change parameters here, or for one run with an option such as -S rank=8

${document.toString({ lineWidth: 0 })}`;
}

/**
 * The text of a pipeline for a table: own-data with its parameters and
 * comments.
 */
async function labelledStarter(
  source: Source,
  table: LabelledTable,
): Promise<string> {
  const { name, path, encoding } = source;
  const { document, write, set, setList } = await openTemplate(
    OWN_DATA,
    source,
  );
  const { rows, columns, text, pair, label, separator, marks } = table;
  const names = quoteAll(columns.map(oneLine));
  const { GLUE_TASKS } = await import("../../benchmarks/glue.ts");
  set("train", path);
  set("text", text.name, lengthsOf(text));
  set("pair", pair?.name ?? null, pair && lengthsOf(pair));
  if (marks === undefined) set("label", label.name, table.labels);
  else setList("labels", marks.map(({ name }) => name), table.labels);
  if (separator !== undefined) set("separator", separator);
  if (encoding !== undefined) set("encoding", encoding);
  if (table.problem === "regression") {
    const why = `the labels look numeric: ${label.distinct} distinct values`;
    set("regression", true, `true because ${why}`);
  }
  set("name", Object.hasOwn(GLUE_TASKS, name) ? `${name}-data` : name);
  const holdout = rows < 1000 ? 0.2 : 0.1;
  set("holdout", holdout);
  set(
    "maxLength",
    table.tokens,
    "maximum tokens per text, estimated to cover 99 % of the texts; longer ones are truncated",
  );
  const batch = Number(document.getIn(["params", "training", "batchSize"]));
  const enough = epochsFor(rows * (1 - holdout), batch).epochs;
  const epochs = Math.max(enough, epochsOfAdapter(rows));
  write(["params", "training", "epochs"], epochs);
  const trial = ["profiles", "trial", "maxLength"];
  write(trial, Math.min(Number(document.getIn(trial)), table.tokens));
  return `# A starter for ${path}: ${rows} rows with the columns ${names}.
# Change parameters here, or for one run with an option such as -S rank=4

${document.toString({ lineWidth: 0 })}`;
}

/**
 * Number of epochs in which an adapter is trained on so many rows, as in the
 * pipelines of the project, if these are enough steps.
 */
function epochsOfAdapter(rows: number): number {
  if (rows < 3000) return 10;
  if (rows < 10_000) return 5;
  if (rows < 50_000) return 3;
  return 1;
}
