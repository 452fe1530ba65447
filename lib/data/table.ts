import { basename } from "@std/path/posix/basename";
import { extname } from "@std/path/posix/extname";
import {
  checkLine,
  quote,
  quoteAll,
  readLines,
  readText,
} from "./text_file.ts";

/** A row of a table. */
export interface Row {
  /** Location for messages: `reviews.csv:12` or `"reviews.parquet", row 11`. */
  readonly place: string;
  /**
   * Values of the requested columns, in their order; undefined if absent. None
   * of a broken row.
   */
  readonly values: readonly unknown[];
  /**
   * True if each item of its lists has a line of its own, the first at `place`.
   */
  readonly hasLines?: true;
}

/** Readers of tables by the endings of their names. */
const READERS: Readonly<
  Record<string, (path: string, columns: Columns) => Promise<Row[]>>
> = {
  ".tsv": (path, columns) => readDelimited(path, columns, "\t"),
  ".csv": (path, columns) => readDelimited(path, columns, ","),
  ".jsonl": readJsonLines,
  ".json": readJson,
  ".parquet": readParquetTable,
  ".conll": readConll,
};

/** Endings of the names of files that {@linkcode readTable} reads. */
export const TABLE_FORMATS = Object.keys(READERS).flatMap((end) =>
  end === ".parquet" ? [end] : [end, `${end}.gz`]
);

/**
 * Reads columns of a user's table.
 *
 * - `.tsv`: a header, then fields separated by tabs; a quote is a plain
 *   character
 * - `.csv`: a header, then fields separated by commas, or by semicolons if the
 *   header has more of these, quoted as in RFC 4180
 * - `.jsonl`: one object per line
 * - `.json`: an array of objects
 * - `.parquet`
 * - `.conll`: a token and its tags on a line, separated by tabs or spaces, and
 *   empty lines between sentences; its columns are `tokens`, the last one
 *   `tags`, and those between them `2`, `3` and so on, each a list by sentence
 *
 * All but `.parquet` may be packed as `.gz`.
 *
 * Lines end with `\n` or `\r\n`, which may be mixed; in a `.tsv`, `.csv` or
 * `.conll` without any `\n` they end with `\r`. Rows of empty fields at their
 * end are dropped. A file has at most 500 MB and lines of 16 Mi characters,
 * apart from a `.jsonl`, whose lines have at most 64 Mi.
 *
 * @param required Columns that the table must have; single JSON objects may
 * lack them.
 * @param optional Further columns, after the required ones in each row's
 * values.
 * @throws {SyntaxError} With `file:line` (and `:column`, where quotes,
 * delimiters or JSON are wrong), if the file is invalid or empty, lacks a
 * column or has it twice.
 */
export async function readTable(
  path: string,
  required: readonly string[],
  optional: readonly string[] = [],
  { title = path, ...form }: TableForm = {},
): Promise<Row[]> {
  const rows = await readRows(path, { required, optional, title, ...form });
  if (rows.length === 0) throw new SyntaxError(`"${title}" has no rows`);
  return rows;
}

async function readRows(path: string, columns: Columns): Promise<Row[]> {
  if ((await Deno.stat(path)).isDirectory) {
    throw new SyntaxError(
      `"${path}" is a folder, such as Spark writes: give a single file`,
    );
  }
  const read = READERS[extname(path.toLowerCase().replace(/\.gz$/, ""))];
  if (read !== undefined) return await read(path, columns);
  const endings = TABLE_FORMATS.join(", ");
  throw new SyntaxError(
    `"${path}" is not a supported table; its name must end in ${endings}`,
  );
}

/**
 * Names of the columns of a user's table, in their order, as often as its
 * header has them; of JSON, the keys of all of its objects.
 *
 * @throws {SyntaxError} As {@linkcode readTable}.
 */
export async function columnsOf(
  path: string,
  encoding?: string,
): Promise<string[]> {
  const columns: string[] = [];
  await readRows(path, {
    required: [],
    optional: [],
    encoding,
    onNames: (names) => names.forEach((name) => columns.push(name)),
  });
  return columns;
}

/**
 * Class names that a user's table records for a column of class ids, which
 * only a `.parquet` can.
 *
 * @returns Undefined if it names no classes of the column.
 * @throws {SyntaxError} If the parquet file, or its record, is invalid.
 */
export async function recordedClasses(
  path: string,
  column: string,
  title = path,
): Promise<readonly string[] | undefined> {
  if (extname(path).toLowerCase() !== ".parquet") return undefined;
  const { openParquet } = await import("./parquet.ts");
  return await (await openParquet(path, title)).classesOf(column);
}

/** How a file differs from what its name says. */
interface TableForm {
  /** What messages call a `.parquet`; its path by default. */
  readonly title?: string | undefined;
  /** Encoding of text, as {@linkcode readText} takes it; UTF-8 by default. */
  readonly encoding?: string | undefined;
  /**
   * Columns that may have numbers with decimal commas, in a file separated by
   * semicolons; they are given with points.
   */
  readonly numbers?: readonly string[] | undefined;
  /** How to name another column, for the message that the table lacks one. */
  readonly remedy?: (column: string, header: readonly string[]) => string;
  /** Names of the columns of a file without a header. */
  readonly header?: readonly string[] | undefined;
  /**
   * Keeps lines with another number of fields, as broken rows, and empty ones;
   * otherwise the file is refused, and empty lines are skipped.
   */
  readonly broken?: boolean | undefined;
}

interface Columns extends TableForm {
  readonly required: readonly string[];
  readonly optional: readonly string[];
  /** Whether it is enough to know that the table has the columns. */
  readonly isCheck?: boolean;
  /** Called with the names of all columns. */
  readonly onNames?: (names: readonly string[]) => void;
}

/**
 * Maximum number of characters in a line, whose parsing takes thirty times its
 * memory.
 */
const MAX_LINE = 1 << 24;

/** A number with a decimal comma. */
const DECIMAL_COMMA = /^(\s*[+-]?\d*),(\d+\s*)$/;

/**
 * Checks that a table of the user has columns, reading no more than it must: of
 * a `.tsv` or `.csv` the first line, of a `.jsonl` the objects up to those that
 * have them.
 *
 * @throws {SyntaxError} As {@linkcode readTable}, if it lacks a column or has
 * it twice.
 */
export async function checkHeader(
  path: string,
  required: readonly string[],
  form: TableForm,
): Promise<void> {
  await readRows(path, { required, optional: [], ...form, isCheck: true });
}

/** The text of a table, or its header if only that is needed. */
async function textOf(
  path: string,
  { encoding, isCheck = false }: Columns,
): Promise<string> {
  for await (const line of isCheck ? readLines(path, encoding) : []) {
    if (line.trim() === "") continue;
    // A name that goes on in the next line, or lines that end with \r.
    if (line.split('"').length % 2 === 0 || line.includes("\r")) break;
    return line;
  }
  return await readText(path, encoding);
}

async function readDelimited(
  path: string,
  columns: Columns,
  usual: "\t" | ",",
): Promise<Row[]> {
  const text = await textOf(path, columns);
  const lines = text.split(lineEnd(text));
  for (const [i, { length }] of lines.entries()) {
    checkLine(length, `${path}:${i + 1}`, MAX_LINE);
  }
  const delimiter = delimiterOf(path, text, columns, usual);
  const rows = new DelimitedRows({ path, text, delimiter, columns });
  if (delimiter === "\t") {
    for (const [i, line] of lines.entries()) rows.add(line.split("\t"), i + 1);
  } else {
    await parseCsv(text, path, delimiter, rows);
  }
  return rows.finish();
}

/** A file of records whose fields are separated by a character. */
interface DelimitedFile {
  readonly path: string;
  readonly text: string;
  readonly delimiter: Delimiter;
  readonly columns: Columns;
}

/** Makes rows of the records of a file; the first one may be its header. */
class DelimitedRows {
  readonly #file: DelimitedFile;
  /** For each requested column, whether its commas may be decimal ones. */
  readonly #isNumber: readonly boolean[];
  readonly #rows: Row[] = [];
  /** Number of rows up to the last one that has a value. */
  #filled = 0;
  #header: readonly string[] | undefined;
  /** Positions of the requested columns in the header. */
  #indices: readonly number[] = [];

  constructor(file: DelimitedFile) {
    const { required, optional, numbers, header } = file.columns;
    const decimals = new Set(file.delimiter === ";" ? numbers : []);
    this.#file = file;
    this.#isNumber = [...required, ...optional].map((it) => decimals.has(it));
    if (header !== undefined) this.#setHeader(header);
  }

  #setHeader(header: readonly string[]): void {
    const { columns, path } = this.#file;
    this.#indices = findColumns(columns, header, path);
    this.#header = header;
  }

  /**
   * @param line Number of the first line of the record, from 1
   * @throws {SyntaxError} If the header lacks a column, or the record has
   * another number of fields.
   */
  add(record: readonly string[], line: number): void {
    const { path, columns } = this.#file;
    const isEmpty = record.length === 1 && record[0] === "";
    if (isEmpty && !columns.broken) return;
    if (this.#header === undefined) return this.#setHeader(record);
    const expected = this.#header.length;
    const isBroken = record.length !== expected;
    if (isBroken && !columns.broken) {
      throw columnCountError(this.#file, line, expected, record.length);
    }
    const values = isBroken ? [] : this.#valuesOf(record);
    this.#rows.push({ place: `${path}:${line}`, values });
    if (record.some((value) => value.trim() !== "")) {
      this.#filled = this.#rows.length;
    }
  }

  #valuesOf(record: readonly string[]): (string | undefined)[] {
    return this.#indices.map((index, column) => {
      const value = record[index];
      return this.#isNumber[column]
        ? value?.replace(DECIMAL_COMMA, "$1.$2")
        : value;
    });
  }

  /** @throws {SyntaxError} If there was no header, but a column is required. */
  finish(): Row[] {
    if (this.#header === undefined) this.#setHeader([]);
    // Spreadsheets write the cells below a table that were ever used.
    return this.#rows.slice(0, this.#filled);
  }
}

/** The error that a record has another number of fields than the header. */
function columnCountError(
  { path, text, delimiter }: DelimitedFile,
  line: number,
  expected: number,
  actual: number,
): SyntaxError {
  const [marks] = DELIMITERS[delimiter];
  const hint = delimiter !== "\t" && actual > expected
    ? `; put a text that contains ${marks} in quotes`
    : "";
  const field = Math.min(expected, actual - 1);
  const place = placeOf(field, text, line, delimiter);
  return new SyntaxError(
    `${path}:${place}: Expected ${expected} columns separated by ${marks}, found ${actual}${hint}`,
  );
}

function lineEnd(text: string): RegExp {
  return text.includes("\n") ? /\r?\n/ : /\r/;
}

/** Where a field of the record at a line starts: `line:column`, from 1. */
function placeOf(
  field: number,
  text: string,
  line: number,
  delimiter: string,
): string {
  const source = text.split(lineEnd(text)).slice(line - 1).join("\n");
  const plain = delimiter === "\t"
    ? source
    : source.replaceAll(/"[^"]*"/g, (it) => it.replaceAll(delimiter, " "));
  const { length } = plain.split(delimiter, field).join(delimiter);
  const before = source.slice(0, field === 0 ? 0 : length + 1).split("\n");
  return `${line + before.length - 1}:${before.at(-1)!.length + 1}`;
}

/**
 * Adds the records of a `.csv` to the rows.
 *
 * @throws {SyntaxError} With `file:line:column`, if quotes are not as in RFC
 * 4180.
 */
async function parseCsv(
  text: string,
  path: string,
  delimiter: string,
  rows: DelimitedRows,
): Promise<void> {
  const { CsvError, parse } = await import("csv-parse/sync");
  const hasLf = text.includes("\n");
  let line = 1;
  let surplus = 0;
  try {
    parse(text, {
      delimiter,
      record_delimiter: hasLf ? ["\r\n", "\n"] : "\r",
      relax_column_count: true,
      on_record: (record: string[], { lines }) => {
        rows.add(record, line);
        // It counts an \r in a text as the end of a line, also before an \n.
        if (hasLf) surplus += record.join().split("\r").length - 1;
        line = lines + 1 - surplus;
        return null;
      },
    });
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    const message = QUOTE_FAULTS[error.code] ?? error.message;
    const place = placeOf(error.index as number, text, line, delimiter);
    throw new SyntaxError(`${path}:${place}: ${message}`, { cause: error });
  }
}

const AFTER_QUOTE =
  'Text follows a closing quote; write a quote inside quotes twice ("")';

/** Messages on quotes by the error code of the CSV parser. */
const QUOTE_FAULTS: Readonly<Record<string, string>> = {
  CSV_QUOTE_NOT_CLOSED:
    'A quoted text is not closed; write a quote inside quotes twice ("")',
  CSV_INVALID_CLOSING_QUOTE: AFTER_QUOTE,
  CSV_NON_TRIMABLE_CHAR_AFTER_CLOSING_QUOTE: AFTER_QUOTE,
  INVALID_OPENING_QUOTE:
    'A text without quotes contains a quote; put the whole text in quotes, and write the quote inside it twice ("")',
};

/**
 * The characters that separate columns, with their names and the formats that
 * have them.
 */
const DELIMITERS = {
  "\t": ["tabs", ".tsv"],
  ",": ["commas", ".csv"],
  ";": ["semicolons", ".csv"],
} as const;

type Delimiter = keyof typeof DELIMITERS;

/**
 * The delimiter of a table: that of its format, or semicolons in a `.csv` whose
 * header has more of them than commas, as spreadsheets write it where the comma
 * is the decimal point.
 *
 * @throws {SyntaxError} If the header has the delimiter of another format only.
 */
export function delimiterOf(
  path: string,
  text: string,
  { required }: Pick<Columns, "required">,
  usual: "\t" | ",",
): Delimiter {
  const header = text.trimStart().split(/[\r\n]/, 1)[0]!;
  if (required.includes(header)) return usual;
  const marks = header.replaceAll(/"[^"]*"/g, "");
  const count = (mark: string) => marks.split(mark).length - 1;
  if (usual === "," && count(";") > count(",")) return ";";
  const other = Object.entries(DELIMITERS).find(([it]) => count(it) > 0);
  if (count(usual) > 0 || other === undefined) return usual;
  const [, [names, format]] = other;
  const [needed] = DELIMITERS[usual];
  const name = basename(path).replace(/\.\w+(?=(\.gz)?$)/i, format);
  throw new SyntaxError(
    `"${path}" seems to have ${names} between its columns, but its name requires ${needed}; rename it to "${name}"`,
  );
}

async function readJsonLines(path: string, columns: Columns): Promise<Row[]> {
  const rows: Row[] = [];
  const names = new Set<string>();
  let line = 0;
  for await (const text of readLines(path, columns.encoding)) {
    line++;
    const place = `${path}:${line}`;
    if (text.trim() === "") continue;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      const [, , column] = placeOfJson(error as SyntaxError);
      const at = column ? `${place}:${column}` : place;
      throw new SyntaxError(
        `${at}: Expected a JSON object on one line, found ${quote(text)}`,
        { cause: error },
      );
    }
    rows.push(rowOf(value, place, columns, names));
    const isFound = columns.required.every((it) => names.has(it));
    if (columns.isCheck && isFound) return rows;
  }
  if (rows.length > 0) findColumns(columns, [...names], path);
  return rows;
}

/**
 * The message of JSON.parse() without its place, and the line and column, which
 * it gives in most.
 */
function placeOfJson({ message }: SyntaxError): readonly string[] {
  return /^(.*?)(?: in JSON)? at position \d+ \(line (\d+) column (\d+)\)$/
    .exec(message)?.slice(1) ?? [message];
}

async function readJson(path: string, columns: Columns): Promise<Row[]> {
  const text = await readText(path, columns.encoding);
  let values: unknown;
  try {
    values = JSON.parse(text);
  } catch (error) {
    const [fault, line, column] = placeOfJson(error as SyntaxError);
    const at = line
      ? `${path}:${line}:${column}: Not JSON`
      : `"${path}" is not JSON`;
    throw new SyntaxError(
      `${at}: ${fault}; if it has one object per line, rename it to end in .jsonl`,
      { cause: error },
    );
  }
  if (!Array.isArray(values)) {
    throw new SyntaxError(
      `"${path}" has no array of JSON objects, one for each row, at the top`,
    );
  }
  const names = new Set<string>();
  const rows = values.map((value, i) =>
    rowOf(value, `"${path}", row ${i + 1}`, columns, names)
  );
  if (rows.length > 0) findColumns(columns, [...names], path);
  return rows;
}

/**
 * The columns of a JSON object, which may lack some; `names` gets those that it
 * has.
 */
function rowOf(
  value: unknown,
  place: string,
  { required, optional }: Columns,
  names: Set<string>,
): Row {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new SyntaxError(
      `${place}: Expected a JSON object, found ${quote(JSON.stringify(value))}`,
    );
  }
  for (const name of Object.keys(value)) names.add(name);
  const values = [...required, ...optional].map((column) =>
    Object.hasOwn(value, column)
      ? (value as Record<string, unknown>)[column]
      : undefined
  );
  return { place, values };
}

async function readParquetTable(
  path: string,
  columns: Columns,
): Promise<Row[]> {
  const { openParquet } = await import("./parquet.ts");
  const { title = path } = columns;
  const file = await openParquet(path, title);
  const indices = findColumns(columns, file.names, title);
  if (columns.isCheck) return [];
  const valuesByColumn: ArrayLike<unknown>[] = [];
  for (const index of indices) {
    valuesByColumn.push(
      index < 0 ? [] : await file.column(file.names[index]!),
    );
  }
  const length = Math.max(0, ...valuesByColumn.map(({ length }) => length));
  return Array.from({ length }, (_, i) => ({
    place: `"${title}", row ${i + 1}`,
    values: valuesByColumn.map((values) => values[i]),
  }));
}

async function readConll(path: string, columns: Columns): Promise<Row[]> {
  const text = await readText(path, columns.encoding);
  const rows: Row[] = [];
  let indices: readonly number[] | undefined;
  let width = 0;
  let sentence: string[][] = [];
  for (const [i, line] of [...text.split(lineEnd(text)), ""].entries()) {
    const fields = line.includes("\t")
      ? line.split("\t").map((it) => it.trim())
      : line.trim().split(/ +/);
    if (line.trim() !== "" && fields[0] !== "-DOCSTART-") {
      const others = fields.slice(1, -1).map((_, i) => `${i + 2}`);
      const header = ["tokens", ...others, "tags"].slice(0, fields.length);
      indices ??= findColumns(columns, header, path);
      width ||= fields.length;
      if (fields.length !== width) {
        const place = `${path}:${i + 1}`;
        throw new SyntaxError(
          `${place}: Expected ${width} columns separated by tabs or spaces, found ${fields.length}`,
        );
      }
      sentence.push(fields);
    } else if (sentence.length > 0) {
      rows.push({
        place: `${path}:${i + 1 - sentence.length}`,
        values: indices!.map((index) => sentence.map((it) => it[index])),
        hasLines: true,
      });
      sentence = [];
    }
  }
  return rows;
}

/**
 * Positions of the columns of a table in its header, -1 for an absent optional
 * one.
 */
function findColumns(
  { required, optional, onNames, remedy }: Columns,
  header: readonly string[],
  path: string,
): number[] {
  onNames?.(header);
  const lacking = required.find((column) => !header.includes(column));
  if (lacking !== undefined) {
    const names = quoteAll(header) || "none";
    const advice = remedy?.(lacking, header) ?? "";
    throw new SyntaxError(
      `"${path}" has no column "${lacking}"; it has ${names}${advice}`,
    );
  }
  return columnIndices([...required, ...optional], header, path);
}

/**
 * Positions of columns in a header; -1 for an absent one.
 *
 * @throws {SyntaxError} If the header has one of them twice.
 */
export function columnIndices(
  columns: readonly string[],
  header: readonly string[],
  path: string,
): number[] {
  // A search per column takes minutes where there are 200,000.
  const indices = Map.groupBy(header.keys(), (index) => header[index]!);
  return columns.map((column) => {
    const [index = -1, ...others] = indices.get(column) ?? [];
    if (others.length === 0) return index;
    const first = index + 1;
    const last = others.at(-1)! + 1;
    throw new SyntaxError(
      `"${path}" has the column "${column}" more than once, as columns ${first} and ${last}; rename all but one`,
    );
  });
}
