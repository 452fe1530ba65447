import type { ScoresFile } from "../../artifacts/scores.ts";
import { didYouMean } from "../../pipeline/did_you_mean.ts";
import { isMapping, printable, readText } from "../../pipeline/faults.ts";
import { readYaml } from "../../pipeline/read.ts";
import { signOf } from "../../problems/registry.ts";
import { openStore } from "../../scheduler/context.ts";
import { holdOff } from "../../store/cleanup.ts";
import {
  type Arguments,
  command,
  UsageError,
  wrap,
} from "../arguments/arguments.ts";
import {
  findPipeline,
  matchingStages,
  pipelineNames,
} from "../arguments/open_pipeline.ts";
import { JSON_LINES, OUT, outOf } from "../arguments/options.ts";
import { bytes, clip, duration, localTime } from "../terminal/messages.ts";
import { csvLine, writeOut } from "../terminal/renderer.ts";
import { tableLines } from "../terminal/terminal_markdown.ts";
import {
  isScored,
  Results,
  type Row,
  type StageResult,
  TRAINING,
} from "../../track/results.ts";

export const runsCommand = command`
  runs [PIPELINE [STAGE...]]

  Compare runs: one row for each scored result in the cache, current or replaced. The columns are the parameters that differ, of the stage and of all stages upstream, the scores at the best rank, the times, and the size of the adapter. With STAGEs (names, ids or globs), compare their results of any kind.

  * marks the results in the output folder. --json and --csv have all parameters
  * and the scores at every rank.

  Options:
  --sort COLUMN  Sort by a column, ascending (default: latest first)
  -r, --reverse  Reverse the order
  -a, --all  Show all parameters, including those that do not differ
  --csv  Print CSV
  ${OUT}
  ${JSON_LINES}

  Examples:
  glue-mini  Compare all scored results of a pipeline
  smoke --sort accuracy --reverse  Show the best first
  glue-mini "train-*" --csv > runs.csv  Save all trainings as CSV
`(async (args) => {
  if (args.has("json") && args.has("csv")) {
    throw new UsageError('Options "--json" and "--csv" exclude each other');
  }
  const store = openStore({ out: outOf(args) });
  const [argument, ...patterns] = args.positionals;
  const pipeline = argument && await nameOf(argument);
  // Keeps a clean-up from removing manifests and their files meanwhile.
  using _live = await holdOff(store);
  const results = new Results(store);
  const selected = await selectResults(results.all, pipeline, patterns);
  const rows = await Promise.all(selected.map((it) => results.row(it)));
  const columns = columnsOf(rows, args);
  const lines = linesOf(sortedRows(rows, columns, args), columns, args);
  writeOut(lines.map((it) => `${it}\n`).join(""));
});

/**
 * The scored results of a pipeline, or of all; with patterns, its results of
 * any kind of the stages that these name.
 *
 * @throws {UsageError} If there is no result of the pipeline, or no such stage.
 */
async function selectResults(
  all: readonly StageResult[],
  pipeline: string | undefined,
  patterns: readonly string[],
): Promise<StageResult[]> {
  // Runs with --name have results in PIPELINE@NAME.
  const ofPipeline = all.filter((it) =>
    [it.pipeline, it.pipeline.split("@")[0], undefined].includes(pipeline)
  );
  if (pipeline !== undefined && ofPipeline.length === 0) {
    const names = new Set(all.map((it) => it.pipeline));
    const hint = didYouMean(pipeline, [...names].sort(), "it has results of") ||
      "; it has none";
    throw new UsageError(
      `The cache has no results of pipeline "${pipeline}"${hint}`,
    );
  }
  const stages = new Map(
    ofPipeline.map(({ stage }) => [stage, { name: stage.replace(/@.*/, "") }]),
  );
  const matching = await matchingStages({ stages }, patterns);
  return ofPipeline.filter(({ stage, manifest }) =>
    patterns.length > 0 ? matching.includes(stage) : isScored(manifest)
  );
}

function columnsOf(rows: readonly Row[], args: Arguments): Column[] {
  const isCsv = args.has("csv");
  const params = parameterColumns(rows);
  const differing = params.filter((it) => differs(it, rows));
  const others = params.filter((it) => !differing.includes(it));
  return [
    ...FIRST,
    ...differing,
    ...isCsv || args.has("all") ? others : [],
    ...scoreColumns(rows),
    ...LAST,
    ...isCsv ? rankColumns(rows) : [],
  ];
}

/** @throws {UsageError} If there is no column to sort by. */
function sortedRows(
  rows: readonly Row[],
  columns: readonly Column[],
  args: Arguments,
): readonly Row[] {
  const name = args.value("sort");
  const by = columns.find((it) => it.name === name);
  if (name !== undefined && by === undefined && rows.length > 0) {
    const names = columns.map((it) => it.name);
    const hint = didYouMean(name, names, "the columns are");
    throw new UsageError(`No column "${name}" to sort by${hint}`);
  }
  const sorted = by === undefined
    ? rows
    : rows.toSorted((a, b) => order(by.value(a), by.value(b)));
  return args.has("reverse") ? sorted.toReversed() : sorted;
}

function linesOf(
  rows: readonly Row[],
  columns: readonly Column[],
  args: Arguments,
): string[] {
  if (args.has("json")) return rows.map((row) => JSON.stringify(row));
  if (args.has("csv")) return csv(columns, rows);
  if (rows.length > 0) return table(columns, rows);
  return ["No scored results yet; name stages to compare other results"];
}

/**
 * The name under which results of a pipeline are stored; its file may be gone.
 */
async function nameOf(argument: string): Promise<string> {
  const isFile = /[\\/]|\.ya?ml$/.test(argument);
  if (!isFile && !pipelineNames().includes(argument)) return argument;
  const { value } = await readYaml(
    await readText(await findPipeline(argument)),
  );
  const name = isMapping(value) ? value.name : undefined;
  return typeof name === "string" ? name : argument;
}

type RankScores = ScoresFile["ranks"][number];
type Cell = string | number | boolean | undefined;

interface Column {
  readonly name: string;
  readonly value: (row: Row) => Cell;
  /** Whether the table shows what differs in long texts only. */
  readonly isLong?: boolean;
  /** Text of a number in the table. */
  readonly show?: (value: number) => string;
  /**
   * When the table has it: also if it is too narrow for all columns, if rows
   * differ, or never; by default if there is room.
   */
  readonly inTable?: "always" | "differing" | "never";
  /** Heading and cell of the table, if they are others. */
  readonly marked?: {
    readonly heading: string;
    readonly text: (row: Row) => string;
  };
}

const FIRST: readonly Column[] = [
  {
    name: "started",
    value: ({ started }) => started,
    inTable: "always",
    marked: {
      heading: "  started",
      text: ({ current, started }) =>
        `${current ? "*" : " "} ${localTime(started)}`,
    },
  },
  {
    name: "current",
    value: ({ current }) => current,
    inTable: "never",
  },
  {
    name: "pipeline",
    value: ({ pipeline }) => pipeline,
    inTable: "differing",
  },
  {
    name: "stage",
    value: ({ stage }) => stage,
    inTable: "always",
  },
];

const LAST: readonly Column[] = [
  {
    name: "training",
    value: ({ seconds }) => seconds.training,
    show: duration,
  },
  { name: "time", value: ({ seconds }) => seconds.stage, show: duration },
  { name: "total", value: ({ seconds }) => seconds.total, show: duration },
  { name: "size", value: ({ size }) => size, show: bytes },
];

/**
 * The columns of the parameters. Tasks that never occur in the same row, such
 * as two methods of training, share a column for parameters of the same name.
 * If a parameter has several columns, their names include the task.
 */
function parameterColumns(rows: readonly Row[]): Column[] {
  const paths = new Set(rows.flatMap(({ params }) => Object.keys(params)));
  const pathsByName = Map.groupBy(
    paths,
    (path) => path.slice(path.indexOf(".") + 1),
  );
  return [...pathsByName].flatMap(([name, paths]) => {
    // The code of two tasks always differs.
    const columns = name === "code"
      ? paths.map((path) => [path])
      : groupedByColumn(paths, rows);
    return columns.map((paths): Column => ({
      // At most one of these columns has several tasks.
      name: columns.length === 1 || paths.length > 1 ? name : paths[0]!,
      isLong: true,
      value: (row) => parameterOf(row, name, paths),
    }));
  });
}

/**
 * The paths of a parameter (`task.name`) in groups that share a column: no two
 * of a group occur in the same row.
 */
function groupedByColumn(
  paths: readonly string[],
  rows: readonly Row[],
): string[][] {
  const occurTogether = (a: string, b: string) =>
    rows.some(({ params }) => a in params && b in params);
  const groups: string[][] = [];
  for (const path of paths) {
    const group = groups.find((others) =>
      !others.some((other) => occurTogether(path, other))
    );
    if (group === undefined) groups.push([path]);
    else group.push(path);
  }
  return groups;
}

/** The value of the parameter of a row that has one of these paths. */
function parameterOf(
  { params, ranks }: Row,
  name: string,
  paths: readonly string[],
): Cell {
  const path = paths.find((it) => Object.hasOwn(params, it));
  if (path === undefined) {
    // The rank of an imported adapter is no parameter.
    return name === "rank" ? ranks.at(-1)?.rank : undefined;
  }
  const value = params[path];
  const isPlain = typeof value === "number" || typeof value === "string";
  return isPlain ? value : JSON.stringify(value);
}

function differs({ value }: Column, rows: readonly Row[]): boolean {
  return new Set(rows.map(value).filter((it) => it !== undefined)).size > 1;
}

/**
 * The rank at which a row scores best by its first metric, and the scores
 * there.
 */
function best({ ranks }: Row): RankScores | undefined {
  const main = ({ metrics }: RankScores) => {
    const [name, value] = Object.entries(metrics)[0] ?? ["", null];
    return value === null ? -Infinity : signOf(name) * value;
  };
  return ranks.toSorted((a, b) => main(b) - main(a))[0];
}

function scoreNames(rows: readonly Row[]): string[] {
  const names = rows.flatMap((row) => Object.keys(best(row)?.metrics ?? {}));
  return [...new Set(names)];
}

/**
 * The scores at the best rank; without any, the metrics that stages reported.
 */
function scoreColumns(rows: readonly Row[]): Column[] {
  const scores = scoreNames(rows);
  if (scores.length > 0) {
    return [
      ...scores.map((name, i): Column => ({
        name,
        value: (row) => best(row)?.metrics[name] ?? undefined,
        show: (score) => score.toFixed(4),
        ...(i === 0 && { inTable: "always" }),
      })),
      {
        name: "bestRank",
        value: (row) => best(row)?.rank,
        inTable: "always",
      },
    ];
  }
  const metrics = new Set(rows.flatMap(({ metrics }) => Object.keys(metrics)));
  metrics.delete(TRAINING);
  return [...metrics].map((name, i) => ({
    name,
    value: ({ metrics }) => metrics[name],
    show: (value) => String(Number(value.toPrecision(5))),
    ...(i === 0 && { inTable: "always" }),
  }));
}

function rankColumns(rows: readonly Row[]): Column[] {
  const all = rows.flatMap(({ ranks }) => ranks);
  const ranks = new Set(all.map(({ rank }) => rank));
  return scoreNames(rows).flatMap((metric) =>
    [...ranks].sort((a, b) => a - b).map((rank) => ({
      name: `${metric}@${rank}`,
      value: ({ ranks }: Row) =>
        ranks.find((it) => it.rank === rank)?.metrics[metric] ?? undefined,
    }))
  );
}

/** Orders cells: absent ones, numbers, then texts. */
function order(a: Cell, b: Cell): number {
  if (typeof a === typeof b) {
    if (a! < b!) return -1;
    return a! > b! ? 1 : 0;
  }
  const kinds = ["undefined", "number", "boolean", "string"];
  return kinds.indexOf(typeof a) - kinds.indexOf(typeof b);
}

/** Rows as CSV, with numbers in full. */
function csv(columns: readonly Column[], rows: readonly Row[]): string[] {
  return [
    columns.map(({ name }) => name),
    ...rows.map((row) => columns.map(({ value }) => String(value(row) ?? ""))),
  ].map((texts) => csvLine(texts));
}

/**
 * A table of the columns that are not empty. In a terminal that is too narrow,
 * those at the right are left out: costs, further scores, parameters.
 */
function table(columns: readonly Column[], rows: readonly Row[]): string[] {
  const width = Deno.stdout.isTerminal()
    ? Deno.consoleSize().columns
    : Infinity;
  const shown = columns.filter((column) => isShown(column, rows))
    .map((column) => tableColumn(column, rows));
  const left: string[] = [];
  while (widthOf(shown) > width) {
    const last = shown.findLastIndex(({ isRequired }) => !isRequired);
    if (last < 0) break;
    left.unshift(shown[last]!.name);
    shown.splice(last, 1);
  }
  const lines = tableLines(
    shown.map(({ texts }) => texts),
    (column) => shown[column]!.isNumber,
    width,
  );
  if (left.length === 0) return lines;
  const note = `Left out: ${left.join(", ")}; --csv has all columns`;
  return [...lines, ...wrap(note, width)];
}

function isShown(column: Column, rows: readonly Row[]): boolean {
  if (column.inTable === "never") return false;
  if (column.inTable === "differing") return differs(column, rows);
  return rows.some((row) => (column.value(row) ?? "") !== "");
}

/** A column of the table. */
interface TableColumn {
  readonly name: string;
  /** The heading, then a text for each row. */
  readonly texts: readonly string[];
  readonly isNumber: boolean;
  /** Whether a narrow table has it too. */
  readonly isRequired: boolean;
}

function tableColumn(column: Column, rows: readonly Row[]): TableColumn {
  const { name, value, show, isLong, inTable, marked } = column;
  const values = rows.map((row) => value(row) ?? "");
  const cells = marked
    ? rows.map(marked.text)
    : values.map((it) =>
      printable(typeof it === "number" && show ? show(it) : String(it))
    );
  return {
    name,
    texts: [
      marked?.heading ?? name,
      ...isLong ? shortened(cells) : cells,
    ],
    isNumber: values.every((it) => it === "" || typeof it === "number"),
    isRequired: inTable === "always",
  };
}

/** Width of a table with two blanks between its columns. */
function widthOf(columns: readonly TableColumn[]): number {
  const widths = columns.map(({ texts }) =>
    Math.max(...texts.map(({ length }) => length))
  );
  const gaps = 2 * (columns.length - 1);
  return widths.reduce((sum, width) => sum + width, gaps);
}

const MAX_CELL = 24;

/** Cells without the words that all of them have, if any is long. */
function shortened(cells: readonly string[]): readonly string[] {
  if (cells.every(({ length }) => length <= MAX_CELL)) return cells;
  const words = cells.map((it) => it.split(" "));
  const filled = words.filter((it) => it.join() !== "");
  return words.map((of) => {
    const different = of.filter((word) =>
      !filled.every((it) => it.includes(word))
    );
    return clip(different.join(" "), MAX_CELL);
  });
}
