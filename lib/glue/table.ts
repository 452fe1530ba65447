import { extname } from "node:path";
import { LineCounter } from "./line_counter.ts";
import { readLines } from "./lines.ts";
import { quoteAll } from "./quote.ts";

/** A row of a user's file. */
export interface Row {
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
