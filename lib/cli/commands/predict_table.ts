/** Tables of texts to classify, and the same with predictions. */
import { dirname, extname } from "node:path";
import type { Classification } from "../../artifacts/predictions.ts";
import { listIn, toExamples } from "../../data/labels.ts";
import { columnsOf, readTable } from "../../data/table.ts";
import { writeDurably } from "../../files/files.ts";
import { columnOf, problemNamed, PROBLEMS } from "../../problems/registry.ts";
import { UsageError } from "../arguments/arguments.ts";
import { csvLine } from "../terminal/renderer.ts";

/**
 * Reads a table as own data is read.
 *
 * @param path The table
 * @param out The table to write
 * @param named The column of the texts, and perhaps that of their second texts
 * @param isWritten Whether texts are written, which may have line breaks
 * @throws {SyntaxError} With the place, if the table is invalid, lacks a column, or a row has no text.
 * @throws {UsageError} If its rows cannot be written with predictions.
 */
export async function readTexts(
  path: string,
  out: string,
  named: readonly string[],
  encoding: string | undefined,
  isWritten: boolean,
) {
  const write = writerOf(out);
  const remedy = () => ": name the columns of the texts by --text and --pair";
  const columns = await columnsOf(path, encoding);
  const twice = PROBLEMS.flatMap((name) => problemNamed(name).columns)
    .find((name) => columns.includes(name));
  if (twice !== undefined) {
    throw new UsageError(
      `"${path}" has a column "${twice}", which predictions get: rename it`,
    );
  }
  const found = await readTable(path, named, columns, { encoding, remedy });
  const count = named.length;
  // What toExamples() reads ends with a label.
  const unlabelled = found.map((row) => ({
    ...row,
    values: [...row.values.slice(0, count), undefined],
  }));
  const list = listIn(found[0]?.values[0]);
  if (typeof list?.[0] === "object") {
    const [column] = named;
    throw new UsageError(
      `"${path}" has no texts in "${column}" but lists of objects, such as conversations: name a column of texts, such as last messages, by --text`,
    );
  }
  const { reader, of } = columnOf("tokens");
  const texts = list === undefined
    ? toExamples(unlabelled, undefined)
    : toExamples(
      reader!({ repairs: false, log() {}, fault() {} })(unlabelled, false),
      of([]),
    );
  const rows = found.map(({ values }) => values.slice(count));
  const broken = isWritten ? [["\n"]] : [];
  for (const values of [...rows, ...broken]) write(values, columns);
  /** Examples, names of all columns, and their values by row. */
  return { texts, columns, rows };
}

/**
 * Writes a table with its predictions, beside the file and then in its place.
 *
 * @param predictions By row
 */
export function writePredicted(
  out: string,
  { columns, rows }: Awaited<ReturnType<typeof readTexts>>,
  { problem, texts }: Pick<Classification, "problem" | "texts">,
): void {
  const write = writerOf(out);
  const predicted = problemNamed(problem);
  const all = [...columns, ...predicted.columns];
  const lines = rows.map((values, i) =>
    write([...values, ...predicted.cells(texts[i]!)], all)
  );
  const head = /\.jsonl$/i.test(out) ? [] : [write(all, all)];
  Deno.mkdirSync(dirname(out), { recursive: true });
  writeDurably(out, [...head, ...lines, ""].join("\n"));
}

type Writer = (
  values: readonly unknown[],
  columns: readonly string[],
) => string;

/** Makes a line of values, by the ending of the table's name. */
const WRITERS: Readonly<Record<string, Writer>> = {
  ".csv": (values) => csvLine(values.map(textOf)),
  ".tsv": (values) => {
    const texts = values.map(textOf);
    const odd = texts.find((text) => /[\t\r\n]/.test(text));
    if (odd === undefined) return texts.join("\t");
    const quoted = JSON.stringify(odd.slice(0, 40));
    throw new UsageError(
      `A .tsv cannot have a tab or a line break in a text, as in ${quoted}: name a .csv or a .jsonl by "--out"`,
    );
  },
  ".jsonl": (values, columns) =>
    JSON.stringify(
      Object.fromEntries(columns.map((name, i) => [name, values[i]])),
      (_, value) => typeof value === "bigint" ? Number(value) : value,
    ),
};

function textOf(value: unknown): string {
  if (value === undefined || value === null) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function writerOf(out: string): Writer {
  const found = WRITERS[extname(out.toLowerCase())];
  if (found !== undefined) return found;
  const endings = Object.keys(WRITERS).join(", ");
  throw new UsageError(
    `"${out}" cannot be written: its name must end in ${endings}`,
  );
}
