import { extname } from "node:path";
import type { Example } from "./example.ts";
import { quote, quoteAll, readLines } from "./text.ts";

/** A row of a user's file. */
interface Row {
  /** For messages: `reviews.csv:12` or `"reviews.parquet", row 11`. */
  readonly place: string;
  /** Values of the columns asked for, in their order; undefined where there is none. */
  readonly values: readonly unknown[];
}

/** The file formats that {@linkcode readTable} reads, by the end of the file's name. */
export const TABLE_FORMATS = [".tsv", ".csv", ".jsonl", ".parquet"] as const;

/**
 * Reads some columns of a table.
 *
 * - `.tsv`: a header, then fields divided by tabs; a quote is a plain character
 * - `.csv`: a header, then fields divided by commas, quoted as RFC 4180 says
 * - `.jsonl`: an object on each line
 * - `.parquet`
 *
 * Lines end in `\n` or `\r\n`, even both in one file; those of a `.tsv` or
 * `.csv` without any `\n` end in `\r`.
 *
 * @param required Columns that must be there; an object of JSON may lack them all the same.
 * @param optional Columns that come after them in each row's values.
 * @throws {SyntaxError} Naming file and line, if the file is damaged, empty, lacks a column, or has it twice.
 */
export async function readTable(
  path: string,
  required: readonly string[],
  optional: readonly string[] = [],
): Promise<Row[]> {
  const rows = await readRows(path, { required, optional });
  if (rows.length === 0) throw new SyntaxError(`"${path}" holds no rows`);
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
        `"${path}" is not a table that can be read: its name must end in ${
          TABLE_FORMATS.join(", ")
        }`,
      );
  }
}

interface Columns {
  readonly required: readonly string[];
  readonly optional: readonly string[];
}

async function readDelimited(
  path: string,
  columns: Columns,
  format: { delimiter: string; quote: string | null },
): Promise<Row[]> {
  const { CsvError, parse } = await import("csv-parse/sync");
  const text = decode(await Deno.readFile(path), path);
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
    // Its own count of lines takes a CRLF in quotes for two.
    const message = error.message.replace(/ (at|on) line \d+/, "");
    throw new SyntaxError(
      `${path}:${lines.after(end)}: ${message.slice(0, 500)}`,
    );
  }
  const [header, ...others] = rows;
  const places = findColumns(columns, header?.record ?? [], path);
  return others.map(({ record, line }) => ({
    place: `${path}:${line}`,
    values: places.map((place) => record[place]),
  }));
}

async function readJsonLines(
  path: string,
  { required, optional }: Columns,
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
      throw new SyntaxError(`${place}: ${(error as SyntaxError).message}`);
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new SyntaxError(`${place}: Expected an object`);
    }
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
  const file = (await Deno.readFile(path)).buffer;
  try {
    const { children } = parquetSchema(parquetMetadata(file));
    const names = children.map(({ element }) => element.name);
    const places = findColumns(columns, names, path);
    const objects = await parquetReadObjects({
      file,
      columns: names.filter((_, place) => places.includes(place)),
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

/** Places of the columns in a header, -1 for an optional one that is not there. */
function findColumns(
  { required, optional }: Columns,
  header: readonly string[],
  path: string,
): number[] {
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
      `"${path}" has the column "${column}" more than once, as column ${
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
      `"${path}" is not UTF-8; convert it, with "iconv" say`,
      { cause: error },
    );
  }
}

const CR = 13;
const LF = 10;

/** Numbers the lines of a text that is read from its beginning on; the first is 1. */
class LineCounter {
  readonly #bytes: Uint8Array;
  /** What ends a line, or ends it last. */
  readonly #end: number;
  #offset = 0;
  #line = 1;

  constructor(text: string) {
    this.#bytes = new TextEncoder().encode(text);
    this.#end = text.includes("\n") ? LF : CR;
  }

  /**
   * The line of the first byte of UTF-8 from `offset` on that ends no line.
   *
   * @param offset No less than at the call before.
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

/** What the rows of a user's table mean. */
export type Labelling =
  /** A class; names in the order of their numbers. */
  | { readonly kind: "classes"; readonly names: readonly string[] }
  /** A number. */
  | { readonly kind: "score" };

/** More classes than this are rather the values of a regression, or a wrong column. */
const MOST_CLASSES = 1000;

const DECIMAL = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i;

/**
 * The classes that occur, in the order of their numbers if all are whole
 * numbers, else in alphabetical order.
 *
 * @param rows Rows whose last value is the label.
 * @throws {SyntaxError} If they cannot be the classes of a task.
 */
export function classesOf(rows: readonly Row[]): string[] {
  const names = new Set(rows.map(readClass));
  if (names.size < 2 || names.size > MOST_CLASSES) {
    throw new SyntaxError(
      `The labels have ${names.size} different values; expected 2 to ${MOST_CLASSES} classes${
        names.size > 2 ? ' (for scores set "regression: true")' : ""
      } (last row: ${rows.at(-1)?.place ?? "none"})`,
    );
  }
  const sorted = [...names].sort();
  return sorted.every((name) => /^-?\d{1,15}$/.test(name))
    ? sorted.sort((a, b) => Number(a) - Number(b))
    : sorted;
}

/**
 * Tells whether a test set is labelled: whether any row holds a label, or -1
 * where that is a label of the training set and not the hub's sign for none.
 *
 * @param rows Rows whose last value is the label.
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
 * Turns rows into examples.
 *
 * @param rows Rows whose values are the one or two texts, then the label.
 * @param labelling Left out if the labels are not known.
 * @throws {SyntaxError} Naming the row, if a value is not what it should be.
 */
export function toExamples(
  rows: readonly Row[],
  labelling: Labelling | undefined,
): Example[] {
  return rows.map((row, index) => {
    const [text, pair] = row.values.slice(0, -1).map((value) => {
      if (typeof value === "string") return value;
      throw new SyntaxError(
        `${row.place}: Expected a text, found ${describe(value)}`,
      );
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

/** The number that a value is, or spells in decimal; NaN if it is none. */
function toNumber(value: unknown): number {
  if (typeof value === "number" || typeof value === "bigint") {
    return Number(value);
  }
  const spelt = typeof value === "string" && DECIMAL.test(value.trim());
  return spelt ? Number(value) : NaN;
}

/** Spaces around a class are no part of its name. */
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
