/**
 * Inspects a user's table: which columns hold the texts and the labels, and how
 * long the texts are.
 */
import {
  className,
  describeValue,
  isEmpty,
  listIn,
  MAX_CLASSES,
  toNumber,
} from "./labels.ts";
import { columnIndices } from "./columns.ts";
import { columnsOf, readTable, recordedClasses } from "./table.ts";
import { likelySeparator, markColumns } from "./label_cells.ts";
import { quote, quoteAll } from "./text_file.ts";

/** What was detected in a table. */
export interface TableSummary {
  readonly rows: number;
  readonly columns: readonly string[];
  /** Of words, their sentences. */
  readonly text: Column;
  readonly pair: Column | undefined;
  readonly label: Column;
  /** Other columns of texts, which the pipeline does not read. */
  readonly unused: readonly Column[];
  /**
   * What the labels look like: classes, several labels of a text, numbers to
   * predict, or tags of words.
   */
  readonly problem: "classification" | "multi-label" | "regression" | "tokens";
  /**
   * What separates the labels of a text, or "auto"; undefined where lists have
   * several, or columns.
   */
  readonly separator?: string | undefined;
  /** Columns of 0 and 1, one for each label, of which `label` is the first. */
  readonly marks?: readonly Column[] | undefined;
  /**
   * Estimated maximum sequence length that truncates at most 1 % of the texts.
   */
  readonly tokens: number;
}

/** Columns named by the user, and the encoding of a text file. */
type Named = Partial<
  Record<"text" | "pair" | "label" | "encoding", string | undefined>
>;

/** Usual names of columns, in lower case, the most specific first. */
export const LABELS =
  "label labels gold_label class category target sentiment score rating stars y"
    .split(" ");
const TEXTS = ["text", "sentence", "review", "content", "body", "comment"];
export const PAIRS =
  "sentence1 sentence2, question1 question2, text1 text2, text_a text_b, premise hypothesis, question sentence, question passage, question answer, query passage, query document"
    .split(", ").map((names) => names.split(" "));

/**
 * Reads a table and detects its columns.
 *
 * @throws {SyntaxError} If the table cannot be read.
 * @throws {RangeError} If a named column does not exist, none is detected, or
 * the first row seems to be an example.
 */
export async function inspectTable(
  path: string,
  named: Named,
): Promise<TableSummary> {
  const names = [named.text, named.pair, named.label];
  const twice = names.find((it, i) => it && names.indexOf(it) !== i);
  if (twice !== undefined) {
    throw new RangeError(
      `Column "${twice}" is named more than once: give --text, --pair and --label different columns`,
    );
  }
  const { encoding } = named;
  const header = await columnsOf(path, encoding);
  const times = Map.groupBy(header, (name) => name);
  const once = header.filter((name) => times.get(name)!.length === 1);
  const positions = new Map(once.map((name, position) => [name, position]));
  const form = { encoding, numbers: once };
  const rows = await readTable(path, [], once, form);
  const columns = [...times.keys()].map((name) => {
    const position = positions.get(name) ?? -1;
    return columnWith(
      name,
      rows.map(({ values }) => values[position]),
      position < 0,
    );
  });
  const table = { rows: rows.length, columns: header };
  const several = severalLabels(columns, named, path);
  if (several !== undefined) {
    const tokens = tokensOf(several.text, several.pair);
    return {
      ...table,
      ...several,
      unused: [],
      problem: "multi-label",
      tokens,
    };
  }
  const tagged = taggedColumns(columns, named, path);
  if (tagged !== undefined) {
    const tokens = tokensOf(tagged.text, undefined);
    return { ...table, ...tagged, unused: [], problem: "tokens", tokens };
  }
  const label = named.label !== undefined
    ? find(columns, named.label, path)
    : guessLabel(columns, named, path);
  const classes = await recordedClasses(path, label.name);
  const [text, pair] = textsOf(columns, named, label, path);
  const texts = pair ? [text, pair] : [text];
  // A repeated name is a fault only where a value is needed.
  columnIndices([label, ...texts].map(({ name }) => name), header, path);
  const odd = label.values.find((it) => !isEmpty(it));
  if (label.filled === 0 && odd !== undefined) {
    const value = describeValue(odd);
    throw new RangeError(
      `Column "${label.name}" of "${path}" has ${value} in each row, expected text, a number or a boolean: name the column of the labels with --label`,
    );
  }
  const numbers = label.values.map(toNumber).filter(Number.isFinite);
  const isNumeric = numbers.length > 0 && numbers.length === label.filled;
  const isRegression = isNumeric && classes === undefined &&
    (label.distinct > MAX_NUMERIC ||
      numbers.some((it) => !Number.isInteger(it)));
  if (!isRegression && (label.distinct < 2 || label.distinct > MAX_CLASSES)) {
    throw new RangeError(
      `Column "${label.name}" of "${path}" has distinct values: ${label.distinct}, expected 2 to ${MAX_CLASSES} classes: name the column of the labels with --label`,
    );
  }
  const isExample = label.values.some((it) => className(it) === label.name) ||
    (isNumeric && Number.isFinite(toNumber(label.name)));
  if (isExample && named.label === undefined) {
    throw new RangeError(
      `The first row of "${path}" seems to be an example, because the name of the column "${label.name}" looks like its labels: add a row with the names of the columns above it, or name the column of the labels with --label`,
    );
  }
  return {
    ...table,
    text,
    pair,
    label,
    unused: columns.filter((it) =>
      ![text, pair, label].includes(it) && it.hasTexts && !isGrouping(it) &&
      !isId(it)
    ),
    problem: isRegression ? "regression" : "classification",
    tokens: tokensOf(text, pair),
  };
}

/**
 * Maximum number of distinct numeric labels that count as classes; more are a
 * regression.
 */
const MAX_NUMERIC = 20;

/** A column of a table, and what was detected in it. */
export interface Column {
  readonly name: string;
  readonly values: readonly unknown[];
  /**
   * True if the header has the name more than once, so that the values are
   * unknown.
   */
  readonly isRepeated: boolean;
  /** Number of distinct values, without empty ones. */
  readonly distinct: number;
  /** Number of values that are a text, a number or a boolean, and not empty. */
  readonly filled: number;
  /** Median length of the values in characters. */
  readonly median: number;
  /** Maximum length of the values in characters. */
  readonly longest: number;
  /** True if any value is a text that is no number. */
  readonly hasTexts: boolean;
}

/** A column with its values. */
export function columnWith(
  name: string,
  values: readonly unknown[],
  isRepeated = false,
): Column {
  const texts = values.filter((it) => className(it) !== undefined).map(String);
  const lengths = texts.map((it) => it.length).sort((a, b) => a - b);
  return {
    name,
    values,
    isRepeated,
    distinct: new Set(texts.map((it) => it.trim())).size,
    filled: texts.length,
    median: lengths[lengths.length >> 1] ?? 0,
    longest: lengths.at(-1) ?? 0,
    hasTexts: values.some((it) =>
      typeof it === "string" && !isEmpty(it) && Number.isNaN(toNumber(it))
    ),
  };
}

export function find(
  columns: readonly Column[],
  name: string,
  path: string,
): Column {
  const column = columns.find((it) => it.name === name);
  if (column !== undefined) return column;
  const names = columns.map((it) => it.name);
  throw new RangeError(
    `"${path}" has no column "${name}"; it has ${quoteAll(names) || "none"}`,
  );
}

/** Usual names of columns of tags or spans. */
const TAGS = "tags ner_tags labels entities spans".split(" ");
/** Usual names of columns of words. */
const WORDS = ["tokens", "words"];

/**
 * The columns of words, or of texts, and of their tags or spans; undefined if
 * the labels are no lists.
 */
function taggedColumns(
  columns: readonly Column[],
  named: Named,
  path: string,
): Pick<TableSummary, "text" | "pair" | "label"> | undefined {
  const lists = columns.filter(({ values }) =>
    values.some((it) => listIn(it) !== undefined) &&
    values.every((it) => isEmpty(it) || listIn(it) !== undefined)
  );
  const others = columns.filter((it) => !lists.includes(it));
  const isNamed = named.label !== undefined;
  if (named.pair !== undefined || !isNamed && byName(others, LABELS)) {
    return undefined;
  }
  const label = isNamed
    ? lists.find(({ name }) => name === named.label)
    : byName(lists, TAGS);
  if (label === undefined) return undefined;
  const words = lists.filter((it) => it !== label);
  const hasSpans = label.values.some((it) =>
    listIn(it)?.some((item) => typeof item === "object")
  );
  const [text] = named.text !== undefined
    ? [find(columns, named.text, path)]
    : hasSpans
    ? textsOf(others, named, label, path)
    : [byName(words, WORDS) ?? words[0]];
  if (text === undefined) {
    throw new RangeError(
      `No column of "${path}" besides "${label.name}" has lists of words: name it with --text`,
    );
  }
  const sentences = text.values.map((it) => listIn(it)?.join(" ") ?? it);
  const column = columnWith(text.name, sentences);
  return { text: column, pair: undefined, label };
}

/**
 * The columns of texts, and of several labels of each: a list of names, names
 * with a separator, or columns of 0 and 1. Undefined if there are none.
 */
function severalLabels(
  columns: readonly Column[],
  named: Named,
  path: string,
):
  | Pick<TableSummary, "text" | "pair" | "label" | "separator" | "marks">
  | undefined {
  const label = named.label !== undefined
    ? columns.find(({ name }) => name === named.label)
    : byName(columns, LABELS) ?? listColumn(columns, named);
  if (label === undefined) {
    const marks = markColumns(columns);
    const [first] = marks;
    if (first === undefined) return undefined;
    const others = columns.filter((it) => !marks.includes(it));
    const [text, pair] = textsOf(others, named, first, path);
    return { text, pair, label: first, marks };
  }
  const separator = likelySeparator(label.values);
  const hasWords = columns.some((it) => it !== label && hasLists(it));
  if (separator === undefined && (!isListOfNames(label) || hasWords)) {
    return undefined;
  }
  const others = columns.filter((it) => it !== label);
  const [text, pair] = textsOf(others, named, label, path);
  return { text, pair, label, separator };
}

/** The only column with several labels, among those that are not named. */
function listColumn(
  columns: readonly Column[],
  { text, pair }: Named,
): Column | undefined {
  const free = columns.filter(({ name }) =>
    name !== text && name !== pair && !TEXTS.includes(name.toLowerCase())
  );
  const lists = free.filter((it) =>
    isListOfNames(it) ||
    it.median < 40 && likelySeparator(it.values) !== undefined
  );
  return lists.length === 1 ? lists[0] : undefined;
}

function hasLists({ values }: Column): boolean {
  return values.some((it) => listIn(it) !== undefined);
}

/** Whether the values of a column are lists of names, and not of objects. */
function isListOfNames({ values }: Column): boolean {
  const items = values.flatMap((it) => listIn(it) ?? []);
  return items.length > 0 &&
    values.every((it) => isEmpty(it) || listIn(it) !== undefined) &&
    items.every((it) => className(it) !== undefined);
}

export function byName(columns: readonly Column[], names: readonly string[]) {
  return names.flatMap((name) =>
    columns.find((it) => it.name.toLowerCase() === name) ?? []
  ).at(0);
}

/**
 * Whether many rows share each of its few, short values, as those of classes.
 */
export function isGrouping({ median, distinct, filled }: Column): boolean {
  return distinct > 1 && median < 40 && 2 * distinct <= filled &&
    distinct <= Math.max(MAX_NUMERIC, filled / 10);
}

/**
 * Whether its values are words of which no two rows share one, as of ticket
 * numbers.
 */
export function isId({ values, distinct, filled }: Column): boolean {
  return filled > 1 && distinct === filled &&
    values.every((it) => !/\s/.test(String(it ?? "").trim()));
}

/**
 * Names of columns that may hold what a pipeline asks for, the most likely
 * first.
 */
export interface ColumnGuesses {
  readonly text: readonly string[];
  readonly label: readonly string[];
  /** Columns of 0 and 1, one for each label; none if they are few. */
  readonly marks: readonly string[];
  /**
   * Parameters that name columns of texts to write, such as `prompt=prompt`;
   * undefined if there are none, or labels.
   */
  readonly written: readonly string[] | undefined;
  /** The columns of words and of their tags, if these two have lists. */
  readonly tagged: readonly [words: string, tags: string] | undefined;
}

/**
 * Columns that hold texts to write, unless another has labels, and what the
 * pipeline e2e is told of them.
 */
const WRITTEN = [
  {
    columns: ["messages"],
    settings: ["messages=messages", "completion=null"],
  },
  {
    columns: ["prompt", "completion"],
    settings: ["prompt=prompt", "completion=completion"],
  },
] as const;

/**
 * The parameters of texts to write for a table with these columns; undefined if
 * it has none, or has labels.
 */
export function writtenIn(
  columns: readonly string[],
): (typeof WRITTEN)[number] | undefined {
  if (columns.some((it) => LABELS.includes(it.toLowerCase()))) return undefined;
  return WRITTEN.find((it) => it.columns.every((it) => columns.includes(it)));
}

/**
 * Guesses the columns of a user's table by their names and contents.
 *
 * @throws {SyntaxError} If the table cannot be read.
 */
export async function guessColumns(
  path: string,
  encoding: string | undefined,
): Promise<ColumnGuesses> {
  const all = await columnsOf(path, encoding);
  const header = all.filter((name) =>
    all.indexOf(name) === all.lastIndexOf(name)
  );
  const written = writtenIn(header)?.settings;
  if (header.length === 0) {
    return { text: [], label: [], marks: [], written, tagged: undefined };
  }
  const rows = await readTable(path, [], header, { encoding, numbers: header });
  const columns = header.map((name, i) =>
    columnWith(name, rows.map(({ values }) => values[i]))
  );
  const named = byName(columns, LABELS);
  const groups = named ? [named] : columns.filter(isGrouping);
  const free = columns.filter((it) => it.hasTexts && !groups.includes(it));
  const likely = free.filter((it) => !isId(it));
  const texts = (likely.length > 0 ? likely : free)
    .toSorted((a, b) => b.median - a.median);
  const usual = byName(texts, TEXTS);
  const text = (usual ? [usual, ...texts] : texts).map(({ name }) => name);
  const others = header.filter((name) => name !== text[0]);
  const lists = columns.filter(hasLists);
  const words = byName(lists, WORDS) ?? lists[0];
  const tags = lists.find((it) => it !== words);
  const isTagged = words !== undefined && tags !== undefined &&
    lists.length === 2;
  return {
    text,
    tagged: isTagged ? [words.name, tags.name] : undefined,
    label: groups.length > 0
      ? groups.map(({ name }) => name)
      : others.slice(-1),
    marks: markColumns(columns).map(({ name }) => name),
    written,
  };
}

/**
 * The column of the labels: by its name, else the one with short values of
 * which the fewest are distinct.
 */
function guessLabel(
  columns: readonly Column[],
  { text, pair }: Named,
  path: string,
): Column {
  const free = columns.filter(({ name }) => name !== text && name !== pair);
  const usual = byName(free, LABELS);
  const grouping = free.filter(isGrouping);
  if (usual === undefined && grouping.length > 1) {
    const described = grouping.map((it) => `  ${describeGroups(it)}`);
    throw new RangeError(
      `More than one column of "${path}" may be the label: name it, as by --label ${
        quote(grouping[0]!.name)
      }\n${described.join("\n")}`,
    );
  }
  const label = likelyLabel(free);
  if (label !== undefined) return label;
  const names = quoteAll(columns.map(({ name }) => name)) || "it has none";
  throw new RangeError(
    `No column of "${path}" looks like labels (${names}): name it with --label; if texts belong together, such as questions and answers, name the second ones with --positive; if texts are to be written, use the pipeline e2e`,
  );
}

/** The column that is most likely of labels; undefined if none looks so. */
export function likelyLabel(columns: readonly Column[]): Column | undefined {
  const varied = columns.filter(({ distinct }) => distinct > 1);
  // Values that are all different are no classes, unless there are only two.
  const few = varied.filter(({ median, distinct, filled }) =>
    median < 40 && (distinct < filled || filled === 2) &&
    distinct <= Math.max(MAX_NUMERIC, filled / 10)
  ).sort((a, b) => a.distinct - b.distinct);
  const numeric = varied.filter(({ values }) =>
    values.some((it) => Math.abs(toNumber(it) % 1) > 0)
  );
  return byName(columns, LABELS) ?? columns.find(isGrouping) ?? few[0] ??
    numeric[0];
}

/** `"kind", 3 classes: "a", "b", "c"` */
function describeGroups({ name, values, distinct }: Column): string {
  const classes = new Set(values.flatMap((it) => className(it) ?? []));
  return `${quote(name)}, ${distinct} classes: ${quoteAll([...classes])}`;
}

/**
 * The columns of the texts: by their names, else the one with the longest
 * texts.
 */
function textsOf(
  columns: readonly Column[],
  named: Named,
  label: Column,
  path: string,
): readonly [Column, Column | undefined] {
  const pair = named.pair === undefined
    ? undefined
    : find(columns, named.pair, path);
  if (named.text !== undefined) return [find(columns, named.text, path), pair];
  const free = columns.filter((it) => it !== label && it !== pair);
  if (pair === undefined) {
    for (const names of PAIRS) {
      const [first, second] = names.map((name) => byName(free, [name]));
      if (first && second) return [first, second];
    }
  }
  const texts = free.filter((it) => it.isRepeated || it.hasTexts);
  const likely = texts.filter((it) => it.hasTexts && !isId(it));
  const longest = (likely.length > 0 ? likely : texts)
    .toSorted((a, b) => b.median - a.median);
  const text = byName(texts, TEXTS) ?? longest[0];
  if (text === undefined) {
    throw new RangeError(
      `No column of "${path}" besides "${label.name}" looks like texts: name it with --text`,
    );
  }
  // "#1 String" and "#2 String".
  const firstName = text.name.replace("2", "1");
  const secondName = text.name.replace("1", "2");
  const first = texts.find(({ name }) => name === firstName);
  const second = texts.find(({ name }) => name === secondName);
  return pair === undefined && first && second && first !== second
    ? [first, second]
    : [text, pair];
}

/** Lower bound of an estimated sequence length. */
const SHORTEST = 32;
/** Upper bound of it: most published models take at most 512 tokens. */
const LONGEST = 512;

/**
 * Estimates a maximum sequence length, a multiple of 32 tokens, that covers 99
 * % of the texts or pairs. A token of WordPiece or BPE is assumed to hold three
 * ASCII characters or one other.
 */
function tokensOf(text: Column, pair: Column | undefined): number {
  return estimateTokens(
    text.values.map((value, i) => pair ? `${value}${pair.values[i]}` : value),
  );
}

/** As {@linkcode tokensOf}, of whole texts; what is no text has no tokens. */
export function estimateTokens(texts: readonly unknown[]): number {
  const lengths = texts.map(estimate).sort((a, b) => a - b);
  const most = lengths[Math.floor(0.99 * (lengths.length - 1))] ?? 0;
  const rounded = Math.ceil((most + SPECIAL) / 32) * 32;
  return Math.min(LONGEST, Math.max(SHORTEST, rounded));
}

/** Maximum number of special tokens around a pair in any architecture. */
const SPECIAL = 4;

function estimate(value: unknown): number {
  if (typeof value !== "string") return 0;
  // deno-lint-ignore no-control-regex
  const ascii = value.match(/[\x00-\x7f]/g)?.length ?? 0;
  return ascii / 3 + (value.length - ascii);
}
