/** Tables of texts to classify, and the same with predictions. */
import { dirname, extname } from "node:path";
import type { Classification } from "../../artifacts/predictions.ts";
import { listIn, toExamples } from "../../data/labels.ts";
import type { Example } from "../../data/example.ts";
import { columnsOf, readTable } from "../../data/table.ts";
import { encodeText, type TextForm, textForm } from "../../data/text_form.ts";
import { writeDurably } from "../../files/files.ts";
import type { ProblemFields } from "../../problems/problem.ts";
import { columnOf } from "../../problems/registry.ts";
import type { TaggedText } from "../../problems/tagged_text.ts";
import { UsageError } from "../arguments/arguments.ts";
import { csvLine } from "../terminal/renderer.ts";
import { PREDICTED_COLUMNS, viewOf } from "./prediction_view.ts";
import { type LabelForm, tableLabels } from "./row_scores.ts";

/** What else is known of a table whose texts are classified. */
interface TableOptions {
  /** Encoding of the table; UTF-8 by default. */
  readonly encoding: string | undefined;
  readonly labels: LabelForm;
  /** The adapter's problem, if it is known. */
  readonly solved?: ProblemFields | undefined;
  /** Whether texts are written, which may have line breaks. */
  readonly isWritten: boolean;
}

/**
 * Reads a table as own data is read.
 *
 * @param path The table
 * @param out The table to write
 * @param named The column of the texts, and perhaps that of their second texts
 * @throws {SyntaxError} With the place, if the table is invalid, lacks a
 * column, or a row has no text or what are no labels.
 * @throws {UsageError} If its rows cannot be written with predictions.
 */
export async function readTexts(
  path: string,
  out: string,
  named: readonly string[],
  { encoding, labels: labelForm, solved, isWritten }: TableOptions,
): Promise<Table> {
  const form = await formOf(path, out, encoding);
  const write = writerOf(out, form);
  const remedy = () => ": name the columns of the texts by --text and --pair";
  const columns = await columnsOf(path, encoding);
  const twice = PREDICTED_COLUMNS.find((name) => columns.includes(name));
  if (twice !== undefined) {
    throw new UsageError(
      `"${path}" has a column "${twice}", which predictions get: rename it`,
    );
  }
  const read = await readTable(path, named, columns, { encoding, remedy });
  const count = named.length;
  // What toExamples() reads ends with a label.
  const unlabelled = read.map((row) => ({
    ...row,
    values: [...row.values.slice(0, count), undefined],
  }));
  const list = listIn(read[0]?.values[0]);
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
  const whole = read.map((row) => ({
    ...row,
    values: row.values.slice(count),
  }));
  const [text] = named;
  const labels = tableLabels(path, columns, whole, text!, labelForm, solved);
  const rows = whole.map(({ values }) => values);
  const broken = isWritten ? [["\n"]] : [];
  for (const values of [...rows, ...broken]) write(values, columns);
  return { texts: withWords(texts, labels), columns, rows, labels, form };
}

/** Texts with the words to which the tags of a table belong. */
function withWords(
  texts: readonly Example[],
  labels: readonly unknown[] | undefined,
): Example[] {
  return texts.map((text, i) => {
    const label = labels?.[i];
    const isTagged = typeof label === "object" && label !== null &&
      "words" in label;
    return isTagged ? { ...text, words: (label as TaggedText).words } : text;
  });
}

/** A table whose texts are classified. */
export interface Table {
  readonly texts: readonly Example[];
  /** Names of all columns. */
  readonly columns: readonly string[];
  /** Their values, by row. */
  readonly rows: readonly (readonly unknown[])[];
  /** As {@linkcode tableLabels} gives them. */
  readonly labels: readonly unknown[] | undefined;
  /**
   * How it is written: as the one that was read, if both are a `.csv` or both a
   * `.tsv`.
   */
  readonly form: TextForm;
}

async function formOf(
  path: string,
  out: string,
  encoding = "utf-8",
): Promise<TextForm> {
  const plain: TextForm = { delimiter: ",", encoding: "utf-8", hasMark: false };
  const endOf = (name: string) => extname(name.toLowerCase());
  const end = endOf(out);
  const isSame = end === endOf(path.replace(/\.gz$/i, ""));
  return isSame && [".csv", ".tsv"].includes(end)
    ? await textForm(path, encoding)
    : plain;
}

/**
 * Writes a table with its predictions, beside the file, which is then replaced.
 *
 * @param predictions By row
 * @param digits Decimal digits of probabilities
 */
export function writePredicted(
  out: string,
  { columns, rows, form }: Pick<Table, "columns" | "rows" | "form">,
  { problem, texts }: Pick<Classification, "problem" | "texts">,
  digits: number,
): void {
  const write = writerOf(out, form);
  const predicted = viewOf(problem);
  const all = [...columns, ...predicted.columns];
  const lines = rows.map((values, i) => {
    const prediction = rounded(texts[i]!, digits);
    return write([...values, ...predicted.cells(prediction)], all);
  });
  const head = /\.jsonl$/i.test(out) ? [] : [write(all, all)];
  const text = [...head, ...lines, ""].join("\n");
  Deno.mkdirSync(dirname(out), { recursive: true });
  const bytes = encodeText(text, form);
  if (bytes === undefined) {
    const name = form.encoding;
    console.error(
      `"${out}" is in UTF-8: predictions have characters that ${name} has not`,
    );
  }
  const unicode = { ...form, encoding: "utf-8" };
  writeDurably(out, bytes ?? encodeText(text, unicode)!);
}

/** A prediction whose probabilities have so many decimal digits. */
function rounded(
  prediction: Classification["texts"][number],
  digits: number,
): Classification["texts"][number] {
  const { probabilities, entities } = prediction;
  const round = (value: number) => Number(value.toFixed(digits));
  return {
    ...prediction,
    probabilities: probabilities &&
      Object.fromEntries(
        Object.entries(probabilities).map(([name, it]) => [name, round(it)]),
      ),
    ...entities !== undefined && {
      entities: entities.map((it) => ({
        ...it,
        probability: round(it.probability),
      })),
    },
  };
}

type Writer = (
  values: readonly unknown[],
  columns: readonly string[],
  form: TextForm,
) => string;

/** Makes a line of values, by the ending of the table's name. */
const WRITERS: Readonly<Record<string, Writer>> = {
  ".csv": (values, _, { delimiter }) => csvLine(values.map(textOf), delimiter),
  ".tsv": (values) => {
    const texts = values.map(textOf);
    const odd = texts.find((text) => /[\t\r\n]/.test(text));
    if (odd === undefined) return texts.join("\t");
    const quoted = JSON.stringify(odd.slice(0, 40));
    throw new UsageError(
      `A .tsv cannot have a tab or a line break in a text, as in ${quoted}: name a .csv or a .jsonl by "--to"`,
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

function writerOf(out: string, form: TextForm) {
  const write = WRITERS[extname(out.toLowerCase())];
  if (write !== undefined) {
    return (values: readonly unknown[], columns: readonly string[]) =>
      write(values, columns, form);
  }
  const endings = Object.keys(WRITERS).join(", ");
  throw new UsageError(
    `"${out}" cannot be written: its name must end in ${endings}`,
  );
}
