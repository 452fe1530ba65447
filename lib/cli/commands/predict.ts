import { dirname, join, resolve } from "node:path";
import { type Embeddings, readEmbeddings } from "../../artifacts/embeddings.ts";
import type { Classification } from "../../artifacts/predictions.ts";
import { toNumber } from "../../data/labels.ts";
import type { Event } from "../../scheduler/events.ts";
import { printable } from "../../pipeline/faults.ts";
import type { ProblemFields } from "../../problems/problem.ts";
import { problemOf } from "../../problems/registry.ts";
import { removeFolder, statIfThere } from "../../files/files.ts";
import {
  Arguments,
  command,
  invalidValue,
  UsageError,
} from "../arguments/arguments.ts";
import {
  ENGINE_OPTIONS,
  JSON_LINES,
  KEY_OPTIONS,
  shortPath,
  writingTo,
} from "../arguments/options.ts";
import { heldEngine } from "../runtime/engine.ts";
import { progressLine } from "../terminal/estimate.ts";
import { interruptible } from "../terminal/interrupts.ts";
import { count } from "../terminal/messages.ts";
import { writeLine, writeOut } from "../terminal/renderer.ts";
import {
  adapterProblem,
  dataOf,
  datasetInfo,
  headOf,
} from "./pipeline_outcome.ts";
import { embeddingWork, showEmbeddings } from "./predict_embeddings.ts";
import { readTexts, type Table, writePredicted } from "./predict_table.ts";
import { viewOf } from "./prediction_view.ts";
import {
  type LabelForm,
  type RowScores,
  scoresOfRows,
  scoresText,
} from "./row_scores.ts";
import { runAlone } from "./run_alone.ts";
import { adapterConfig, adapterFolder, adapterStage } from "./stage_result.ts";

export const predictCommand = command`
  predict [PIPELINE] [STAGE] [TEXT...]

  Classify texts with a trained adapter, at any of its ranks, write what follows them, or embed them.

  STAGE makes or exports an adapter, as trainings do, and has run with the same parameters (-S, --profile; by default those of the last run) and engine. By default, it is the first one of the pipeline that makes an adapter, and whose adapter no other is made of; a TEXT of one word must follow a STAGE. Instead of PIPELINE and STAGE, --adapter and --model name folders, of an adapter in PEFT's format and of its base model; --model is not needed if the adapter's configuration names a folder. Without TEXTs, standard input is read, one text per line; empty lines are skipped.

  With --in FILE, the rows of a table are classified, which is read as your own data are (.csv, .tsv, .jsonl, .json or .conll, also as .gz, or .parquet). It is written to --to FILE (.csv, .tsv or .jsonl) with all its columns and "predicted_label" and "probability", or "predicted_score", of texts with several labels "predicted_labels" and "probabilities", of words with tags "predicted_entities", or what is written as "predicted_text". A .csv keeps the delimiter, the encoding and the byte-order mark of a .csv that came in. Without --to, --out names it.

  An adapter of embeddings finds the nearest 10 texts of the file --nearest for each TEXT, a query. With --in FILE, it writes the embeddings of a file to --to FILE: .npy, a row for each text, or .parquet, with the columns "text" and "embedding". With --json alone, it prints those of the TEXTs. A file that is no table has a text on each line.

  Exit codes: 0 success, 1 failure, 2 invalid arguments or pipeline file, 129, 130 or 143 interrupted.

  Options:
  --rank N  Rank to predict at, or recommended (default: the one recommended by the pipeline's report, else the adapter's own)
  --epoch NAME{last,best}  Epoch of the adapter: last or best (default last)
  --pair SEPARATOR  Split each TEXT into a pair at this separator; \t is a tab. With --in, the column of the second texts
  --in FILE  Classify the rows of a table, and write it with its predictions to --to; or embed the texts of a file
  --to FILE  With --in, the table, or the file of embeddings, to write (default: --out)
  --nearest FILE  Of an adapter of embeddings, rank the texts of a file by each TEXT
  --text COLUMN  With --in or --nearest, the column of the texts (default: that of the training, with --nearest the second one, else text)
  --label COLUMN  With --in, the column of labels, by which the predictions are scored (default: that of the training, if the table has it)
  --threshold P  Of an adapter for several labels of a text, the probability from which a label is predicted (default: that of the pipeline's report, else the adapter's own, else 0.5)
  --digits N  With --in, decimal digits of probabilities (default 4)
  --encoding NAME  With --in or --nearest, the encoding of the file, such as latin1 (default utf-8)
  --beams N  Of an adapter that writes texts, how many are followed at a time (default 1: the most probable token each time)
  --max-tokens N  Maximum tokens of a text to write (default 128)
  --precision NAME{f32,bf16,auto}  Precision of matrix products; auto is bf16 where the machine supports it (default f32, which gives the same result on any machine)
  --adapter DIR  Folder of an adapter
  --model DIR  Folder of the adapter's base model
  ${KEY_OPTIONS}
  ${JSON_LINES}

  Examples:
  smoke "great fun !"  Classify a text at the recommended rank
  smoke train-dylora --rank 1 "great fun !"  Classify it at rank 1
  glue-mini train-dylora@mrpc,seed=0 --pair '\t' < pairs.tsv  Classify pairs of texts, one per line
  --adapter ./adapter --model ./roberta-base --json "a text"  Use folders, and print JSON
  own-data --in new.csv --to predicted.csv  Classify the rows of a table
  retrieval --nearest answers.txt "how do I pay ?"  Find the nearest lines of a file
  retrieval --in answers.txt --to answers.npy  Write the embeddings of its lines
`(async (args) => {
  const request = requestOf(args);
  const threshold = thresholdOf(args);
  using opened = new DisposableStack();
  const source = request.adapter === undefined
    ? await foldersOfStage(request, opened)
    : await foldersOfOptions(request.adapter, args);
  return await headOf(source.inputs.adapter) === "embedding"
    ? await embed(request, source)
    : await classify(request, source, threshold);
});

/**
 * Classifies texts, or writes what follows them, and shows it or writes a
 * table.
 *
 * @returns The exit code
 */
async function classify(
  request: Request,
  source: Source,
  threshold: number | undefined,
): Promise<number> {
  const { args } = request;
  const isWriter = await headOf(source.inputs.adapter) === "language";
  const solved = await adapterProblem(source.inputs.adapter);
  checkForm(request, source, solved, isWriter);
  const table = await tableOf(request, source, solved, isWriter);
  const params = {
    texts: table?.texts.map(({ index: _, ...text }) => text) ??
      splitTexts(
        request.texts.length > 0 ? request.texts : await readLines(),
        args.value("pair"),
      ),
    rank: rankOf(args),
    beams: args.integer("beams", 1, 64),
    maxTokens: args.integer("max-tokens", 1),
    threshold,
    epoch: args.value("epoch"),
    precision: args.value("precision") ?? "f32",
  };
  const digits = args.integer("digits", 1, 17) ?? DIGITS;
  return await interruptible(async (signal) => {
    const predictions = await outputOf(
      request,
      source,
      { task: "classify", params },
      signal,
      readClassification,
    );
    if (table === undefined || request.table === undefined) {
      return showTexts(args, predictions);
    }
    const { out } = request.table;
    await writingTo(
      dirname(resolve(out)),
      'name another file by "--to"',
      () => writePredicted(out, table, predictions, digits),
    );
    const scores = table.labels &&
      scoresOfRows(predictions, table.labels, source.metrics, solved);
    showTable(args, out, predictions, scores);
  });
}

/** Shows the predictions of texts, as lines of JSON if that is asked for. */
function showTexts(args: Arguments, classification: Classification): void {
  const { rank, threshold, texts } = classification;
  const lines = args.has("json")
    ? texts.map(({ tags: _, ...text }) =>
      JSON.stringify({ type: "prediction", ...text, rank, threshold })
    )
    : textLines(classification);
  writeOut(lines.map((line) => `${line}\n`).join(""));
}

/**
 * Names the table that was written.
 *
 * @param scores Of the predictions, if the table has labels
 */
function showTable(
  args: Arguments,
  out: string,
  classification: Classification,
  scores: RowScores | undefined,
): void {
  const { rank, threshold, texts } = classification;
  const path = shortPath(out);
  const rows = texts.length;
  const lines = [
    `${count(rows, "row")} at rank ${rank}${
      thresholdText(classification)
    }: ${path}`,
  ];
  if (scores !== undefined) lines.push(scoresText(scores, rows));
  const message = { type: "predicted", path, rows, rank, threshold, ...scores };
  writeLine(args, message, lines.join("\n"));
}

/**
 * Embeds texts, and shows or writes what is asked for.
 *
 * @returns The exit code
 */
async function embed(request: Request, source: Source): Promise<number> {
  const { args, table } = request;
  const work = await embeddingWork(args, table, source.columns);
  const texts: string[] = [];
  let queries: readonly string[] = [];
  if (work.kind === "file") texts.push(...work.texts.texts);
  else {
    queries = request.texts.length > 0 ? request.texts : await readLines();
    texts.push(...queries);
  }
  if (work.kind === "nearest") texts.push(...work.corpus.texts);
  const params = {
    texts,
    rank: rankOf(args),
    epoch: args.value("epoch"),
    precision: args.value("precision") ?? "f32",
  };
  return await interruptible(async (signal) => {
    const embedded = await outputOf<Embeddings>(
      request,
      source,
      { task: "embed", params },
      signal,
      readEmbeddings,
    );
    await showEmbeddings(args, work, queries, embedded);
  });
}

/** The rank that is asked for; undefined for the default. */
function rankOf(args: Arguments): number | "recommended" | undefined {
  const isRecommended = args.value("rank") === "recommended";
  return isRecommended ? "recommended" : args.integer("rank", 1);
}

/** @throws {UsageError} If the threshold is no probability. */
function thresholdOf(args: Arguments): number | undefined {
  const text = args.value("threshold");
  if (text === undefined) return undefined;
  const threshold = toNumber(text);
  if (threshold > 0 && threshold < 1) return threshold;
  throw invalidValue("threshold", text, "expected a number between 0 and 1");
}

/** Decimal digits of probabilities in a table: what a reader of it needs. */
const DIGITS = 4;

/** What a command line asks for. */
interface Request {
  /**
   * The arguments without texts, and without a table to write under `--out`.
   */
  readonly args: Arguments;
  /** The folder of an adapter, in place of a stage. */
  readonly adapter: string | undefined;
  /** Texts among the arguments. */
  readonly texts: readonly string[];
  /** The table to classify, and the one to write. */
  readonly table: { readonly in: string; readonly out: string } | undefined;
}

/** What a word on the command line looks like that names a stage. */
const STAGE = /^[\w@,=.+*?-]+$/;

/** @throws {UsageError} If arguments do not go together. */
function requestOf(args: Arguments): Request {
  const input = args.value("in");
  const out = args.value("to") ?? args.value("out");
  if (input !== undefined && out === undefined) {
    throw new UsageError('Option "--in" requires "--to", the file to write');
  }
  if (input === undefined && args.has("to")) {
    throw new UsageError('Option "--to" requires "--in", the file to read');
  }
  const isOutTable = input !== undefined && !args.has("to");
  const forAdapter = isOutTable ? args.without("out") : args;
  const adapter = adapterFolder(forAdapter, ENGINE_OPTIONS);
  if (adapter === undefined && args.has("model")) {
    throw new UsageError('Option "--model" requires "--adapter"');
  }
  const [, stage] = args.positionals;
  const isStage = stage !== undefined && STAGE.test(stage);
  let names = 0;
  if (adapter === undefined) names = isStage ? 2 : 1;
  const texts = args.positionals.slice(names);
  if (input !== undefined && texts.length > 0) {
    throw new UsageError(
      `Unexpected argument "${texts[0]}": the texts are those of "--in"`,
    );
  }
  return {
    args: new Arguments(args.positionals.slice(0, names), forAdapter.options),
    adapter,
    texts,
    table: input === undefined ? undefined : { in: input, out: out! },
  };
}

/** An adapter to predict with. */
interface Source {
  readonly inputs: {
    readonly adapter: string;
    readonly model: string;
    readonly report?: string;
  };
  /** Replaces temporary folders in a message by lasting ones. */
  readonly lastingPaths: (text: string) => string;
  /**
   * Names of the columns of the one or two texts of its data; none if they are
   * unknown.
   */
  readonly columns: readonly string[];
  /** How its data have labels, as far as that is known. */
  readonly labels: Omit<LabelForm, "isRequired">;
  /** Metrics of its data, the main one first; undefined if they are unknown. */
  readonly metrics: readonly string[] | undefined;
  /** Id of the stage whose data are known. */
  readonly by: string | undefined;
}

/** The folders that `--adapter` and `--model` name. */
async function foldersOfOptions(
  adapter: string,
  args: Arguments,
): Promise<Source> {
  const folder = existingFolder("adapter", adapter);
  const named = args.value("model");
  const model = named === undefined
    ? await baseModelOf(folder)
    : existingFolder("model", named);
  return {
    inputs: { adapter: folder, model },
    lastingPaths: (text) => text,
    columns: [],
    labels: { column: undefined },
    metrics: undefined,
    by: undefined,
  };
}

function existingFolder(option: string, folder: string): string {
  const existing = statIfThere(folder);
  if (existing?.isDirectory) return resolve(folder);
  const fault = existing === undefined ? "does not exist" : "is not a folder";
  throw new UsageError(`Folder "${folder}" of option "--${option}" ${fault}`);
}

async function baseModelOf(adapter: string): Promise<string> {
  const name = statIfThere(join(adapter, "adapter_config.json"))
    ? (await adapterConfig(adapter)).base_model_name_or_path
    : undefined;
  if (name && statIfThere(resolve(name, "config.json"))) return resolve(name);
  const named = name ? `"${name}", which is not a folder,` : "no folder";
  throw new UsageError(
    `Option "--adapter" requires "--model": the adapter names ${named} as its base model`,
  );
}

/**
 * The folders of the results of a stage.
 *
 * @param opened Its disposal removes them
 */
async function foldersOfStage(
  { args }: Request,
  opened: DisposableStack,
): Promise<Source> {
  const result = await adapterStage(args, ["adapter", "peft"]);
  const { graph, stage, model, openReported } = result;
  if (args.positionals[1] === undefined) {
    console.error(`With the adapter of "${stage.id}"`);
  }
  if (model === undefined) {
    throw new UsageError(
      `Stage "${stage.id}" has no input "model": use --adapter and --model instead`,
    );
  }
  const data = dataOf(stage, graph);
  const rank = args.value("rank") ?? "default";
  const results = opened.use(
    await openReported({ model, data }, rank === "recommended"),
  );
  const { inputs, lastingPaths } = results;
  const info = data && datasetInfo(inputs.data!);
  return {
    inputs: {
      adapter: inputs.adapter!,
      model: inputs.model!,
      ...(inputs.report !== undefined && { report: inputs.report }),
    },
    lastingPaths,
    columns: info?.columns ?? [],
    labels: labelFormOf(data?.params ?? {}),
    metrics: info?.metrics,
    by: data && stage.id,
  };
}

/** How data have labels that the parameters of their stage describe. */
function labelFormOf(
  params: Readonly<Record<string, unknown>>,
): Source["labels"] {
  const { label, labels, separator, missing } = params;
  const isSeparator = typeof separator === "string" && separator !== "auto";
  return {
    column: typeof label === "string" ? label : undefined,
    marks: Array.isArray(labels) ? labels : undefined,
    separator: isSeparator ? separator : undefined,
    mayBeNone: missing === "none",
  };
}

/** Options of adapters that write texts. */
const WRITING = ["beams", "max-tokens"];

/**
 * @throws {UsageError} If the texts, or options of them, are of another form
 * than the adapter's data.
 */
function checkForm(
  { args, table }: Request,
  { columns, by }: Source,
  solved: ProblemFields | undefined,
  isWriter: boolean,
): void {
  const isPair = columns.length > 1;
  // Of a table, the column of second texts is known.
  const isNamed = table !== undefined && isPair;
  if (by !== undefined && isPair !== args.has("pair") && !isNamed) {
    throw new UsageError(
      isPair
        ? `"${by}" classifies pairs of texts: separate them, as in --pair '|' "a text|its pair"`
        : `"${by}" classifies single texts: leave out "--pair"`,
    );
  }
  const hasThreshold = solved === undefined ||
    problemOf(solved).threshold !== undefined;
  if (args.has("threshold") && !hasThreshold) {
    throw new UsageError(
      'Option "--threshold" applies to texts that may have several labels, not to this adapter',
    );
  }
  if (args.has("nearest")) {
    throw new UsageError(
      'Option "--nearest" applies to adapters of embeddings, not to this one',
    );
  }
  const unused = WRITING.find((it) => args.has(it));
  if (unused !== undefined && !isWriter) {
    throw new UsageError(`Option "--${unused}" does not apply to classifiers`);
  }
}

/** The table of a request. */
async function tableOf(
  { args, table }: Request,
  { columns: [first = "text", second], labels }: Source,
  solved: ProblemFields | undefined,
  isWriter: boolean,
): Promise<Table | undefined> {
  if (table === undefined) return undefined;
  const texts = [args.value("text") ?? first, args.value("pair") ?? second]
    .filter((it) => it !== undefined);
  const label = args.value("label");
  return await readTexts(table.in, table.out, texts, {
    encoding: args.value("encoding"),
    labels: label === undefined
      ? { ...labels, isRequired: false }
      : { ...labels, column: label, marks: undefined, isRequired: true },
    solved,
    isWritten: isWriter,
  });
}

/**
 * Runs a task on the folders of an adapter.
 *
 * @param read Reads the folder of its artifact, which is removed afterwards
 */
async function outputOf<Output>(
  { args }: Request,
  { inputs, lastingPaths }: Source,
  { task, params }: {
    readonly task: string;
    readonly params: Readonly<Record<string, unknown>>;
  },
  signal: AbortSignal,
  read: (folder: string) => Promise<Output>,
): Promise<Output> {
  using engine = await heldEngine(args, signal);
  const folder = Deno.makeTempDirSync({ prefix: "predict-" });
  const show = progressLine();
  const run = {
    params,
    inputs: { ...inputs },
    lastingPaths,
    ...engine,
    folder,
    signal,
    emit: (event: Event) => {
      show(event);
      if (event.type === "log" && event.stream === "log") {
        console.error(printable(event.line));
      }
    },
  };
  try {
    const output = await writingTo(
      dirname(folder),
      "set TMPDIR to a folder on another disk",
      () => runAlone(args, task, run),
    );
    return await read(output);
  } finally {
    removeFolder(folder);
  }
}

async function readClassification(folder: string): Promise<Classification> {
  const path = join(folder, "classification.json");
  return JSON.parse(await Deno.readTextFile(path));
}

/** Splits texts into pairs at the first occurrence of the separator. */
function splitTexts(
  texts: readonly string[],
  separator: string | undefined,
): { text: string; pair?: string }[] {
  if (separator === undefined) return texts.map((text) => ({ text }));
  const mark = separator.replaceAll("\\t", "\t");
  return texts.map((text) => {
    const at = text.indexOf(mark);
    if (at < 0) {
      const shown = JSON.stringify(mark);
      throw new UsageError(
        `"${text}" is not a pair: it does not contain the separator ${shown} of option "--pair"`,
      );
    }
    return { text: text.slice(0, at), pair: text.slice(at + mark.length) };
  });
}

async function readLines(): Promise<string[]> {
  const bytes = await new Response(Deno.stdin.readable).bytes();
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new UsageError(
      'Standard input is not valid UTF-8; convert it, for example with "iconv"',
    );
  }
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  if (lines.length > 0) return lines;
  throw new UsageError(
    "No texts: give them as arguments, or on standard input, one per line",
  );
}

/**
 * Each text, followed by its score, by the probability of each class, the
 * predicted one first, or by what is written.
 */
export function textLines(classification: Classification): string[] {
  const { task, problem, rank, recommended, texts } = classification;
  const mark = recommended ? " (recommended)" : "";
  const lines = [
    `${printable(task)}, rank ${rank}${mark}${thresholdText(classification)}`,
  ];
  for (const { text, pair, ...prediction } of texts) {
    lines.push("", printable(pair === undefined ? text : `${text} | ${pair}`));
    const shown = viewOf(problem).lines(prediction)
      .map((line) => line.map(printable) as [string, string]);
    const width = Math.max(...shown.map(([name]) => name.length));
    for (const [name, value] of shown) {
      const text = name && `${name.padEnd(width)}  `;
      lines.push(`  ${text}${value.replaceAll("\n", "\n  ")}`);
    }
  }
  return lines;
}

/** `, threshold 0.5` where labels are predicted by one. */
function thresholdText({ threshold }: Classification): string {
  return threshold === undefined ? "" : `, threshold ${threshold}`;
}
