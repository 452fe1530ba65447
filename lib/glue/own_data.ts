import { basename, extname } from "node:path";
import type { Example } from "./example.ts";
import { lengthFault, quote, quoteAll, readLines } from "./text.ts";

/** A row of a table. */
interface Row {
  /** Location for messages: `reviews.csv:12` or `"reviews.parquet", row 11`. */
  readonly place: string;
  /** Values of the requested columns, in their order; undefined if absent. */
  readonly values: readonly unknown[];
}

/** File name extensions of the formats that {@linkcode readTable} reads. */
export const TABLE_FORMATS = [".tsv", ".csv", ".jsonl", ".parquet"] as const;

/**
 * Reads columns of a user's table.
 *
 * - `.tsv`: a header, then fields separated by tabs; a quote is a plain character
 * - `.csv`: a header, then fields separated by commas, quoted as in RFC 4180
 * - `.jsonl`: one object per line
 * - `.parquet`
 *
 * Lines end with `\n` or `\r\n`, which may be mixed; in a `.tsv` or `.csv`
 * without any `\n` they end with `\r`. A `.tsv` or `.csv` has at most 500 MB,
 * a line of a `.jsonl` 64 Mi characters.
 *
 * @param required Columns that the table must have; single JSON objects may lack them.
 * @param optional Further columns, after the required ones in each row's values.
 * @throws {SyntaxError} With `file:line`, if the file is invalid or empty, lacks a column or has it twice.
 */
export async function readTable(
  path: string,
  required: readonly string[],
  optional: readonly string[] = [],
): Promise<Row[]> {
  const rows = await readRows(path, { required, optional });
  if (rows.length === 0) throw new SyntaxError(`"${path}" has no rows`);
  return rows;
}

async function readRows(path: string, columns: Columns): Promise<Row[]> {
  switch (extname(path).toLowerCase()) {
    case ".tsv":
      return await readDelimited(path, columns, {
        delimiter: "\t",
        quote: null,
      });
    case ".csv":
      return await readDelimited(path, columns, { delimiter: ",", quote: '"' });
    case ".jsonl":
      return await readJsonLines(path, columns);
    case ".parquet":
      return await readParquetTable(path, columns);
    default:
      throw new SyntaxError(
        `"${path}" is not a supported table; its name must end in ${
          TABLE_FORMATS.join(", ")
        }`,
      );
  }
}

/**
 * Names of the columns of a user's table, in their order; of a `.jsonl`, the
 * keys of all of its objects.
 *
 * @throws {SyntaxError} As {@linkcode readTable}.
 */
export async function columnsOf(path: string): Promise<string[]> {
  const found = new Set<string>();
  await readRows(path, {
    required: [],
    optional: [],
    onNames: (names) => names.forEach((it) => found.add(it)),
  });
  return [...found];
}

interface Columns {
  readonly required: readonly string[];
  readonly optional: readonly string[];
  /** Called with the names in a header, or with those of each JSON object. */
  readonly onNames?: (names: readonly string[]) => void;
}

/** Maximum bytes of a file that is decoded as a whole: V8's longest string has 2^29 - 24 characters. */
const MAX_TABLE = 500_000_000;

async function readDelimited(
  path: string,
  columns: Columns,
  format: { delimiter: string; quote: string | null },
): Promise<Row[]> {
  const { CsvError, parse } = await import("csv-parse/sync");
  const { size } = await Deno.stat(path);
  if (size > MAX_TABLE) {
    throw new SyntaxError(
      `"${path}" has ${size} bytes; the maximum of a .tsv or .csv file is ${MAX_TABLE}: convert it to .jsonl or .parquet`,
    );
  }
  const text = decode(await Deno.readFile(path), path);
  checkDelimiter(path, text, columns, format.delimiter);
  const lines = new LineCounter(text);
  const rows: { readonly record: string[]; readonly line: number }[] = [];
  let end = 0;
  try {
    parse(text, {
      ...format,
      escape: format.quote,
      record_delimiter: text.includes("\n") ? ["\r\n", "\n"] : "\r",
      skip_empty_lines: true,
      on_record: (record: string[], { bytes }) => {
        rows.push({ record, line: lines.after(end) });
        end = bytes;
        return null;
      },
    });
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    const { code, record } = error as { code: string; record?: unknown[] };
    const message = faultOfRecord(code, {
      format,
      expected: rows[0]?.record.length ?? 0,
      found: record?.length ?? 0,
    }) ?? error.message;
    // Its line numbers count a quoted CRLF twice.
    throw new SyntaxError(`${path}:${lines.after(end)}: ${message}`, {
      cause: error,
    });
  }
  const [header, ...others] = rows;
  const places = findColumns(columns, header?.record ?? [], path);
  return others.map(({ record, line }) => ({
    place: `${path}:${line}`,
    values: places.map((place) => record[place]),
  }));
}

/** The characters that separate columns. */
const DELIMITERS: Readonly<Record<string, string>> = {
  "\t": "tabs",
  ",": "commas",
  ";": "semicolons",
};

/**
 * Refuses a table whose header has no delimiter of its format, but another one.
 *
 * @throws {SyntaxError} With what it seems to be, and what to do.
 */
function checkDelimiter(
  path: string,
  text: string,
  { required }: Columns,
  delimiter: string,
): void {
  const header = text.trimStart().split(/[\r\n]/, 1)[0]!;
  if (header.includes(delimiter) || required.includes(header)) return;
  const other = Object.keys(DELIMITERS).find((it) => header.includes(it));
  if (other === undefined) return;
  const format = { "\t": ".tsv", ",": ".csv" }[other];
  throw new SyntaxError(
    `"${path}" seems to have ${
      DELIMITERS[other]
    } between its columns, where its name says ${DELIMITERS[delimiter]}; ${
      format === undefined
        ? `save it with ${DELIMITERS[delimiter]}`
        : `rename it to "${basename(path, extname(path))}${format}"`
    }`,
  );
}

/** What is wrong with a record, by the code of the CSV parser. */
function faultOfRecord(
  code: string,
  { format, expected, found }: {
    readonly format: { delimiter: string; quote: string | null };
    readonly expected: number;
    readonly found: number;
  },
): string | undefined {
  const marks = DELIMITERS[format.delimiter];
  switch (code) {
    case "CSV_RECORD_INCONSISTENT_FIELDS_LENGTH": {
      const hint = format.quote !== null && found > expected
        ? `; put a text that contains ${marks} in quotes`
        : "";
      return `Expected ${expected} columns separated by ${marks}, found ${found}${hint}`;
    }
    case "CSV_QUOTE_NOT_CLOSED":
      return 'A quote is opened and not closed; write a quote inside of quotes twice ("")';
    case "CSV_INVALID_CLOSING_QUOTE":
    case "CSV_NON_TRIMABLE_CHAR_AFTER_CLOSING_QUOTE":
      return 'Text follows a closing quote; write a quote inside of quotes twice ("")';
    case "INVALID_OPENING_QUOTE":
      return 'A quote is inside of a text without quotes; put the whole text in quotes, and write the quote twice ("")';
    default:
      return undefined;
  }
}

async function readJsonLines(
  path: string,
  { required, optional, onNames }: Columns,
): Promise<Row[]> {
  const columns = [...required, ...optional];
  const rows: Row[] = [];
  let line = 0;
  for await (const text of readLines(path)) {
    const place = `${path}:${++line}`;
    if (text.trim() === "") continue;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw new SyntaxError(
        `${place}: Expected an object in JSON on one line, found ${
          quote(text)
        }`,
        { cause: error },
      );
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new SyntaxError(`${place}: Expected an object`);
    }
    onNames?.(Object.keys(value));
    const values = columns.map((column) =>
      Object.hasOwn(value, column)
        ? (value as Record<string, unknown>)[column]
        : undefined
    );
    rows.push({ place, values });
  }
  return rows;
}

async function readParquetTable(
  path: string,
  columns: Columns,
): Promise<Row[]> {
  const { parquetMetadata, parquetReadObjects, parquetSchema } = await import(
    "hyparquet"
  );
  const { COMPRESSORS } = await import("./parquet.ts");
  const file = (await Deno.readFile(path)).buffer;
  try {
    const { children } = parquetSchema(parquetMetadata(file));
    const names = children.map(({ element }) => element.name);
    const places = findColumns(columns, names, path);
    const objects = await parquetReadObjects({
      file,
      columns: names.filter((_, place) => places.includes(place)),
      compressors: COMPRESSORS,
    });
    return objects.map((object, i) => ({
      place: `"${path}", row ${i + 1}`,
      values: places.map((place) => object[names[place] ?? ""]),
    }));
  } catch (error) {
    if (error instanceof SyntaxError) throw error;
    throw new SyntaxError(
      `Cannot read "${path}" as parquet: ${
        error instanceof Error ? error.message : error
      }`,
      { cause: error },
    );
  }
}

/** Positions of the columns in a header, -1 for an absent optional one. */
function findColumns(
  { required, optional, onNames }: Columns,
  header: readonly string[],
  path: string,
): number[] {
  onNames?.(header);
  const lacking = required.find((column) => !header.includes(column));
  if (lacking !== undefined) {
    throw new SyntaxError(
      `"${path}" has no column "${lacking}"; it has ${
        quoteAll(header) || "none"
      }`,
    );
  }
  return [...required, ...optional].map((column) => {
    const place = header.indexOf(column);
    const last = header.lastIndexOf(column);
    if (place === last) return place;
    throw new SyntaxError(
      `"${path}" has the column "${column}" more than once, as columns ${
        place + 1
      } and ${last + 1}; rename all but one`,
    );
  });
}

function decode(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new SyntaxError(
      `"${path}" is not valid UTF-8; convert it, for example with "iconv"`,
      { cause: error },
    );
  }
}

const CR = 13;
const LF = 10;

/** Finds line numbers, from 1, of increasing byte offsets into a text. */
class LineCounter {
  readonly #bytes: Uint8Array;
  /** Last byte of a line end. */
  readonly #end: number;
  #offset = 0;
  #line = 1;

  constructor(text: string) {
    this.#bytes = new TextEncoder().encode(text);
    this.#end = text.includes("\n") ? LF : CR;
  }

  /**
   * Line of the first UTF-8 byte at or after `offset` that is not part of a line end.
   *
   * @param offset At least that of the previous call.
   */
  after(offset: number): number {
    const bytes = this.#bytes;
    const ends = (byte: number | undefined) => byte === CR || byte === LF;
    while (this.#offset < offset || ends(bytes[this.#offset])) {
      if (bytes[this.#offset] === this.#end) this.#line++;
      this.#offset++;
    }
    return this.#line;
  }
}

/** Kind of the labels of a user's table. */
export type Labelling =
  /** Classes, with names in the order of their numbers. */
  | { readonly kind: "classes"; readonly names: readonly string[] }
  /** Numbers, for a regression. */
  | { readonly kind: "score" };

/** Maximum number of classes; more distinct values suggest a regression or a wrong column. */
const MAX_CLASSES = 1000;

/** Maximum number of different numbers with decimals that may be classes, such as half stars; more suggest a regression. */
const MAX_GRADES = 10;

/** Number of rows from which fewer than two rows per class suggest a regression or a wrong column. */
const MIN_ROWS = 20;

const DECIMAL = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i;

/**
 * Collects the classes of a table: in numerical order if all are integers,
 * otherwise in alphabetical order.
 *
 * @param rows Rows whose last value is the label.
 * @throws {SyntaxError} If there are too few or too many classes, if the labels
 * are rather numbers to predict, or if a label is missing.
 */
export function classesOf(rows: readonly Row[]): string[] {
  const names = new Set(rows.map(readClass));
  if (names.size < 2 || names.size > MAX_CLASSES) {
    throw new SyntaxError(
      `The labels have ${names.size} different values; expected 2 to ${MAX_CLASSES} classes${
        names.size > 2 ? '; for a regression, set "regression: true"' : ""
      } (last row: ${rows.at(-1)?.place ?? "none"})`,
    );
  }
  const doubt = doubtOf(names, rows.length);
  if (doubt !== undefined) {
    throw new SyntaxError(
      `${doubt}; to predict a number, set "regression: true"; if these are classes, list them in "classes" (last row: ${
        rows.at(-1)!.place
      })`,
    );
  }
  const sorted = [...names].sort();
  return sorted.every((name) => /^-?\d{1,15}$/.test(name))
    ? sorted.sort((a, b) => Number(a) - Number(b))
    : sorted;
}

/** Why the labels of `rows` rows are unlikely to be classes; undefined if they may be. */
function doubtOf(
  names: ReadonlySet<string>,
  rows: number,
): string | undefined {
  const found = [...names];
  const decimal = found.find((name) => !Number.isInteger(toNumber(name)));
  if (
    names.size > MAX_GRADES && decimal !== undefined &&
    found.every((name) => DECIMAL.test(name))
  ) {
    return `The labels have ${names.size} different values, all of them numbers and some with decimals, such as ${
      quote(decimal)
    }`;
  }
  if (rows >= MIN_ROWS && names.size > rows / 2) {
    return `The labels of ${rows} rows have ${names.size} different values, such as ${
      quote(found[0]!)
    }, too many to learn as classes: check the column of the label`;
  }
  return undefined;
}

/**
 * Replaces class ids by the names that a parquet file gives its classes. Other
 * labels stay, such as -1 for one that is not published.
 *
 * @param rows Rows whose last value is the label.
 */
export function nameClasses(
  rows: readonly Row[],
  names: readonly string[],
): Row[] {
  return rows.map((row) => {
    const label = row.values.at(-1);
    const name = typeof label === "number" || typeof label === "bigint"
      ? names[Number(label)]
      : undefined;
    return name === undefined
      ? row
      : { ...row, values: [...row.values.slice(0, -1), name] };
  });
}

/**
 * Tells whether any row of a test set has a label. A label of -1 counts only if
 * the training set has it too: on the hub it marks an unpublished label.
 *
 * @param rows Rows of the test set, whose last value is the label.
 * @param training Rows of the training set.
 */
export function areLabelled(
  rows: readonly Row[],
  labelling: Labelling,
  training: readonly Row[],
): boolean {
  const known = labelling.kind === "classes"
    ? labelling.names
    : training.map(({ values }) => values.at(-1));
  const mayBeMinusOne = known.some(isMinusOne);
  return rows.some(({ values }) => {
    const value = values.at(-1);
    return !isEmpty(value) && (mayBeMinusOne || !isMinusOne(value));
  });
}

/**
 * Converts rows to examples.
 *
 * @param rows Rows whose values are one or two texts, then the label.
 * @param labelling Undefined for a test set without labels.
 * @throws {SyntaxError} With the location of the row, if a value is invalid or a text has more than 4 million characters.
 */
export function toExamples(
  rows: readonly Row[],
  labelling: Labelling | undefined,
): Example[] {
  return rows.map((row, index) => {
    const [text, pair] = row.values.slice(0, -1).map((value) => {
      const fault = typeof value === "string"
        ? lengthFault(value)
        : `Expected text, found ${describe(value)}`;
      if (fault === undefined) return value as string;
      throw new SyntaxError(`${row.place}: ${fault}`);
    });
    return {
      index,
      text: text!,
      ...(pair !== undefined && { pair }),
      ...(labelling && { label: readLabel(row, labelling) }),
    };
  });
}

function readLabel(row: Row, labelling: Labelling): number {
  if (labelling.kind === "score") {
    const value = row.values.at(-1);
    const score = toNumber(value);
    if (Number.isFinite(score)) return score;
    throw new SyntaxError(
      `${row.place}: Expected a number as the label, found ${describe(value)}`,
    );
  }
  const name = readClass(row);
  const label = labelling.names.indexOf(name);
  if (label >= 0) return label;
  throw new SyntaxError(
    `${row.place}: Label ${quote(name)} is not one of the classes (${
      quoteAll(labelling.names)
    })`,
  );
}

/** Converts a number or a decimal string; NaN for anything else. */
function toNumber(value: unknown): number {
  if (typeof value === "number" || typeof value === "bigint") {
    return Number(value);
  }
  const spelt = typeof value === "string" && DECIMAL.test(value.trim());
  return spelt ? Number(value) : NaN;
}

/** Reads a class name without surrounding whitespace. */
function readClass({ place, values }: Row): string {
  const value = values.at(-1);
  if (typeof value === "string" && !isEmpty(value)) return value.trim();
  if (
    typeof value === "number" && Number.isFinite(value) ||
    typeof value === "bigint" || typeof value === "boolean"
  ) {
    return String(value);
  }
  throw new SyntaxError(`${place}: Expected a label, found ${describe(value)}`);
}

function isMinusOne(value: unknown): boolean {
  return toNumber(value) === -1;
}

function isEmpty(value: unknown): boolean {
  return value === undefined || value === null ||
    typeof value === "string" && value.trim() === "";
}

function describe(value: unknown): string {
  if (isEmpty(value)) return "nothing";
  if (typeof value === "string") return quote(value);
  if (typeof value !== "object") return String(value);
  return Array.isArray(value) ? "a list" : "an object";
}
