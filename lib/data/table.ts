import { extname } from "@std/path/posix/extname";
import {
  type Columns,
  findColumns,
  type Row,
  type TableForm,
} from "./columns.ts";
import { lineEnd, readDelimited } from "./delimited.ts";
import { quote, readLines, readText } from "./text_file.ts";

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
 * end are dropped.
 *
 * A `.tsv`, `.csv`, `.json`, `.conll` or `.gz` has at most 500 MB, a `.parquet`
 * 4 GB. Lines have at most 16 Mi characters in a `.tsv` or `.csv`, 64 Mi in a
 * `.jsonl`.
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
  const name = path.toLowerCase();
  const format = TABLE_FORMATS.find((ending) => name.endsWith(ending));
  if (format === undefined) {
    const endings = TABLE_FORMATS.join(", ");
    throw new SyntaxError(
      `"${path}" is not a supported table; its name must end in ${endings}`,
    );
  }
  const read = READERS[format.replace(/\.gz$/, "")]!;
  return await read(path, columns);
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
  // Whoever asks for names needs no rows.
  if (columns.isCheck || columns.onNames !== undefined) return [];
  const valuesByColumn: ArrayLike<unknown>[] = [];
  for (const index of indices) {
    valuesByColumn.push(
      index < 0 ? [] : await file.column(file.names[index]!),
    );
  }
  return Array.from({ length: await file.rowCount() }, (_, i) => ({
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
