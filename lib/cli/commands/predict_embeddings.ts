/**
 * What predict does with an adapter that embeds texts: it writes their
 * embeddings, or finds the nearest texts of a file.
 */
import { basename, dirname, extname, resolve } from "node:path";
import type { Embeddings } from "../../artifacts/embeddings.ts";
import { readTable, TABLE_FORMATS } from "../../data/table.ts";
import { readText } from "../../data/text_file.ts";
import { writeDurably } from "../../files/files.ts";
import { printable } from "../../pipeline/faults.ts";
import { product, unitRows } from "../../problems/embedding.ts";
import { textsIn } from "../../problems/similarity.ts";
import { type Arguments, UsageError } from "../arguments/arguments.ts";
import { shortPath, writingTo } from "../arguments/options.ts";
import { count } from "../terminal/messages.ts";
import { writeLine, writeOut } from "../terminal/renderer.ts";

/** Number of texts that are shown as the nearest ones of a query. */
const NEAREST = 10;

/** Decimal digits of a cosine. */
const DIGITS = 4;

/** Options of predict that apply to other adapters. */
const OF_OTHERS = [
  "pair",
  "label",
  "threshold",
  "digits",
  "beams",
  "max-tokens",
];

/** What is to be embedded, and what for. */
export type EmbeddingWork =
  /** The texts of a file, which become rows of another one. */
  | { readonly kind: "file"; readonly texts: FileTexts; readonly out: string }
  /** Texts of a file are ranked for each query. */
  | { readonly kind: "nearest"; readonly corpus: FileTexts }
  /** The embeddings of queries are printed as JSON. */
  | { readonly kind: "json" };

/** Texts of a file, in their order. */
export interface FileTexts {
  readonly texts: readonly string[];
  /** `corpus.txt:12`, by text. */
  readonly places: readonly string[];
}

/**
 * Checks the options of an adapter that embeds texts, and reads the file that
 * they name.
 *
 * @param table The file to embed, and the one to write
 * @param columns Columns of the texts of the adapter's data, such as anchor and
 * positive; none if they are unknown
 * @throws {UsageError} If options do not go together, or a name has an unknown
 * ending.
 * @throws {SyntaxError} With the place, if a file cannot be read, or a text of
 * it is empty.
 */
export async function embeddingWork(
  args: Arguments,
  table: { readonly in: string; readonly out: string } | undefined,
  [first = "text", second = first]: readonly string[],
): Promise<EmbeddingWork> {
  const other = OF_OTHERS.find((it) => args.has(it));
  if (other !== undefined) {
    throw new UsageError(
      `Option "--${other}" does not apply to adapters of embeddings`,
    );
  }
  const encoding = args.value("encoding");
  const column = args.value("text");
  const nearest = args.value("nearest");
  if (nearest !== undefined) {
    if (table !== undefined) {
      throw new UsageError(
        'Option "--nearest" does not go with "--in": give the queries as arguments, or on standard input, one per line',
      );
    }
    const corpus = await fileTexts(nearest, column ?? second, encoding, true);
    return { kind: "nearest", corpus };
  }
  if (table !== undefined) {
    const { out } = table;
    if (!Object.hasOwn(FORMATS, extname(out))) {
      const endings = Object.keys(FORMATS).join(" or ");
      throw new UsageError(
        `"${out}" cannot have embeddings: its name must end in ${endings}`,
      );
    }
    const texts = await fileTexts(table.in, column ?? first, encoding, false);
    return { kind: "file", texts, out };
  }
  if (args.has("json")) return { kind: "json" };
  throw new UsageError(
    "The adapter gives embeddings: find the nearest texts of a file by --nearest FILE, write the embeddings of a file by --in FILE --to FILE.npy or FILE.parquet, or print them by --json",
  );
}

/**
 * The texts of a column of a table, or the lines of another file.
 *
 * @param skipsEmpty Whether empty lines are left out
 */
async function fileTexts(
  path: string,
  column: string,
  encoding: string | undefined,
  skipsEmpty: boolean,
): Promise<FileTexts> {
  if (TABLE_FORMATS.some((end) => path.toLowerCase().endsWith(end))) {
    const remedy = () => ": name the column of the texts by --text";
    const rows = await readTable(path, [column], [], { encoding, remedy });
    return {
      texts: rows.flatMap(({ values, place }) => textsIn(values, place)),
      places: rows.map(({ place }) => `${basename(path)}:${lineOf(place)}`),
    };
  }
  const lines = (await readText(path, encoding)).split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  const texts: string[] = [];
  const places: string[] = [];
  for (const [i, line] of lines.entries()) {
    if (skipsEmpty && line.trim() === "") continue;
    texts.push(...textsIn([line], `${path}:${i + 1}`));
    places.push(`${basename(path)}:${i + 1}`);
  }
  if (texts.length === 0) {
    throw new UsageError(`"${path}" has no texts: write one per line`);
  }
  return { texts, places };
}

/** `12` of `/path/of/corpus.csv:12`. */
function lineOf(place: string): string {
  return place.slice(place.lastIndexOf(":") + 1);
}

/**
 * Writes or prints what is asked for.
 *
 * @param queries Texts of the command line, or of standard input; none if those
 * of a file are embedded
 * @param embedded The embeddings of the queries, then of the file's texts
 */
export async function showEmbeddings(
  args: Arguments,
  work: EmbeddingWork,
  queries: readonly string[],
  embedded: Embeddings,
): Promise<void> {
  const { rank, width, values } = embedded;
  if (work.kind === "file") {
    const { texts: { texts }, out } = work;
    const bytes = await FORMATS[extname(out)]!(texts, embedded);
    const folder = dirname(resolve(out));
    await writingTo(folder, 'name another file by "--to"', () => {
      Deno.mkdirSync(folder, { recursive: true });
      writeDurably(out, bytes);
    });
    const path = shortPath(out);
    const rows = texts.length;
    const message = { type: "embedded", path, rows, width, rank };
    writeLine(
      args,
      message,
      `${count(rows, "text")} at rank ${rank}: ${path}, ${rows} x ${width}`,
    );
    return;
  }
  const lines = work.kind === "json"
    ? queries.map((text, i) => {
      const embedding = [...values.subarray(i * width, (i + 1) * width)];
      return JSON.stringify({ type: "embedding", text, embedding, rank });
    })
    : nearestLines(args, work.corpus, queries, embedded);
  writeOut(lines.map((line) => `${line}\n`).join(""));
}

/** Each query, followed by the nearest texts. */
function nearestLines(
  args: Arguments,
  { texts, places }: FileTexts,
  queries: readonly string[],
  { task, rank, recommended, values }: Embeddings,
): string[] {
  const rows = unitRows(values, queries.length + texts.length);
  const answers = queries.map((query, i) => ({
    query,
    nearest: texts
      .map((text, j) => ({
        place: places[j]!,
        cosine: product(rows[i]!, rows[queries.length + j]!),
        text,
      }))
      .sort((a, b) => b.cosine - a.cosine)
      .slice(0, NEAREST),
  }));
  if (args.has("json")) {
    return answers.map((it) =>
      JSON.stringify({ type: "nearest", ...it, rank })
    );
  }
  const mark = recommended ? " (recommended)" : "";
  const lines = [`${printable(task)}, rank ${rank}${mark}`];
  for (const { query, nearest } of answers) {
    lines.push("", printable(query));
    const longest = Math.max(...nearest.map(({ place }) => place.length));
    for (const { place, cosine, text } of nearest) {
      const where = printable(place.padEnd(longest));
      const shown = printable(text).replaceAll("\n", " ");
      lines.push(`  ${cosine.toFixed(DIGITS)}  ${where}  ${shown}`);
    }
  }
  return lines;
}

/** @returns The bytes of a file */
type Format = (
  texts: readonly string[],
  embeddings: Embeddings,
) => Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>>;

/** How embeddings are written, by the ending of a file's name. */
const FORMATS: Readonly<Record<string, Format>> = {
  ".npy": (_, embeddings) => npyOf(embeddings),
  ".parquet": parquetOf,
};

/** Bytes to which NumPy aligns the values of a file. */
const NPY_ALIGNMENT = 64;

/** Bytes before the header: a mark of six, a version, the header's length. */
const NPY_START = 10;

/**
 * A matrix in NumPy's format, version 1.0, float32 `[texts, width]`.
 *
 * @see https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
function npyOf(
  { values, texts, width }: Embeddings,
): Uint8Array<ArrayBuffer> {
  const header =
    `{'descr': '<f4', 'fortran_order': False, 'shape': (${texts}, ${width}), }`;
  const used = NPY_START + header.length + 1;
  const start = Math.ceil(used / NPY_ALIGNMENT) * NPY_ALIGNMENT;
  const padded = `${header.padEnd(start - NPY_START - 1)}\n`;
  const bytes = new Uint8Array(start + 4 * values.length);
  const view = new DataView(bytes.buffer);
  bytes.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0]);
  view.setUint16(8, padded.length, true);
  bytes.set(new TextEncoder().encode(padded), NPY_START);
  for (const [i, value] of values.entries()) {
    view.setFloat32(start + 4 * i, value, true);
  }
  return bytes;
}

/** Rows that the writer of Parquet turns into pages at a time. */
const ROWS_PER_GROUP = 10_000;

/** A table with the columns "text" and "embedding", a list of float32. */
async function parquetOf(
  texts: readonly string[],
  { values, width }: Embeddings,
): Promise<Uint8Array<ArrayBuffer>> {
  const { parquetWriteBuffer } = await import("hyparquet-writer");
  const embeddings = texts.map((_, i) =>
    Array.from(values.subarray(i * width, (i + 1) * width))
  );
  const buffer = parquetWriteBuffer({
    columnData: [
      { name: "text", data: [...texts] },
      { name: "embedding", data: embeddings },
    ],
    schema: [
      { name: "root", num_children: 2 },
      {
        name: "text",
        type: "BYTE_ARRAY",
        converted_type: "UTF8",
        repetition_type: "REQUIRED",
      },
      {
        name: "embedding",
        repetition_type: "REQUIRED",
        num_children: 1,
        converted_type: "LIST",
      },
      { name: "list", repetition_type: "REPEATED", num_children: 1 },
      { name: "element", type: "FLOAT", repetition_type: "REQUIRED" },
    ],
    rowGroupSize: ROWS_PER_GROUP,
  });
  return new Uint8Array(buffer);
}
