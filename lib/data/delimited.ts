import { basename } from "@std/path/posix/basename";
import { type Columns, findColumns, type Row } from "./columns.ts";
import { checkLine, readLines, readText } from "./text_file.ts";

/**
 * Maximum number of characters in a line, whose parsing takes thirty times its
 * memory.
 */
const MAX_LINE = 1 << 24;

/** A number with a decimal comma. */
const DECIMAL_COMMA = /^(\s*[+-]?\d*),(\d+\s*)$/;

/** The text of a table, or its header if only that is needed. */
async function textOf(
  path: string,
  { encoding, isCheck = false }: Columns,
): Promise<string> {
  if (!isCheck) return await readText(path, encoding);
  for await (const line of readLines(path, encoding)) {
    if (line.trim() === "") continue;
    // A name that goes on in the next line, or lines that end with \r.
    if (line.split('"').length % 2 === 0 || line.includes("\r")) break;
    return line;
  }
  return await readText(path, encoding);
}

/**
 * Reads columns of a `.tsv` or `.csv`.
 *
 * @param usual The delimiter that its name promises
 * @throws {SyntaxError} With the place, as `readTable()` says.
 */
export async function readDelimited(
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
    if (this.#header === undefined) {
      const isBlank = record.every((it) => it.trim() === "");
      if (!isBlank) this.#setHeader(record);
      return;
    }
    const isEmpty = record.length === 1 && record[0] === "";
    if (isEmpty && !columns.broken) return;
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

/** What ends the lines of a text: `\n` or `\r\n`, or `\r` without any `\n`. */
export function lineEnd(text: string): RegExp {
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
