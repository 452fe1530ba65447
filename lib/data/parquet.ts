import { getHeapStatistics } from "node:v8";
import {
  brotliDecompressSync,
  gunzipSync,
  zstdDecompressSync,
} from "node:zlib";
import {
  type ColumnMetaData,
  type Compressors,
  type FileMetaData,
  parquetMetadata,
  parquetReadObjects,
  parquetSchema,
  snappyUncompress,
} from "hyparquet";
import { parquetHeader } from "hyparquet/src/column.js";
import * as z from "zod";
import { quote } from "./text_file.ts";

/**
 * Reads columns of a parquet file. The library makes as many rows as the
 * metadata say, so these are compared first with the headers of the pages.
 *
 * @throws {Error} If the file is damaged, says it has more rows than its pages, or more than fit into memory.
 */
export async function readColumns(
  file: ArrayBuffer,
  metadata: FileMetaData,
  columns: readonly string[],
): Promise<Record<string, unknown>[]> {
  checkRows(file, metadata, columns);
  return await parquetReadObjects({
    file,
    metadata,
    columns: [...columns],
    compressors: COMPRESSORS,
  });
}

/** Bytes that a row takes at least on the heap: two objects, an array, and its place as a string. */
const ROW_BYTES = 200;

/** Bytes that a value of a column takes at least, in an array. */
const VALUE_BYTES = 8;

/** Maximum values of a page: V8 makes longer arrays hash tables, which are far larger and slower. */
const MAX_PAGE_VALUES = 2 ** 25;

/**
 * Checks that the pages of columns have all rows of a parquet file, and that
 * these fit into memory. A few bytes can hold many equal values or nulls, so
 * the size of a page tells nothing.
 */
function checkRows(
  file: ArrayBuffer,
  metadata: FileMetaData,
  columns: readonly string[],
): void {
  const groups = metadata.row_groups.map(({ num_rows, columns }) => ({
    rows: Math.max(0, Number(num_rows)),
    chunks: columns.flatMap(({ meta_data }) => meta_data ?? []),
  }));
  const { children } = parquetSchema(metadata);
  const read = columns.length === 0
    ? children.slice(0, 1)
    : children.filter(({ element }) => columns.includes(element.name));
  for (const { element: { name, repetition_type }, children } of read) {
    const isFlat = children.length === 0 && repetition_type !== "REPEATED";
    const counts = groups.flatMap(({ rows, chunks }, group) => {
      if (rows === 0) return [];
      const found = chunks.filter((it) => it.path_in_schema[0] === name)
        .map((chunk) => valuesIn(file, chunk, isFlat ? rows : Infinity));
      const fewest = found.length === 0 ? 0 : Math.min(...found);
      // A list has at least one entry, if only to say that it is empty.
      if (fewest >= rows) return found;
      throw new Error(
        `row group ${
          group + 1
        } says it has ${rows} rows; its column "${name}" has ${fewest}`,
      );
    });
    checkSize(counts, VALUE_BYTES, `values in the column "${name}"`);
  }
  checkSize(groups.map(({ rows }) => rows), ROW_BYTES, "rows");
}

/** Refuses numbers of things whose sum does not fit into memory. */
function checkSize(
  counts: readonly number[],
  bytes: number,
  things: string,
): void {
  const sum = counts.reduce((sum, count) => sum + count, 0);
  const { heap_size_limit: limit } = getHeapStatistics();
  if (sum * bytes <= limit) return;
  throw new Error(
    `it has ${sum} ${things}, which do not fit into ${
      (limit / 1e9).toFixed(1)
    } GB of memory: use a part of it`,
  );
}

/**
 * Values of a column in a row group, with nulls, by the headers of its pages.
 *
 * @param enough Number of values after which no page is read
 */
function valuesIn(
  file: ArrayBuffer,
  { dictionary_page_offset, data_page_offset, total_compressed_size }:
    ColumnMetaData,
  enough: number,
): number {
  const start = Number(dictionary_page_offset || data_page_offset);
  const end = Math.min(start + Number(total_compressed_size), file.byteLength);
  if (start < 0 || start >= end) return 0;
  const reader = { view: new DataView(file, start, end - start), offset: 0 };
  let values = 0;
  while (values < enough && reader.offset < reader.view.byteLength - 1) {
    const { type, compressed_page_size, ...header } = parquetHeader(reader);
    if (compressed_page_size < 0) throw new Error("a page has a negative size");
    reader.offset += compressed_page_size;
    const { num_values = 0 } = {
      DATA_PAGE: header.data_page_header,
      DATA_PAGE_V2: header.data_page_header_v2,
    }[type as string] ?? {};
    if (num_values > MAX_PAGE_VALUES) {
      throw new Error(
        `a page has ${num_values} values; the maximum is ${MAX_PAGE_VALUES}`,
      );
    }
    values += Math.max(0, num_values);
  }
  return values;
}

/** Description of a data set that the library `datasets` writes into the metadata of parquet files, under the key "huggingface". */
const Features = z.object({
  info: z.object({
    features: z.record(
      z.string(),
      z.object({
        names: z.array(z.string().trim().min(1)).optional().catch(undefined),
      })
        .optional().catch(undefined),
    ),
  }),
});

/**
 * Class names of a column with class ids (`ClassLabel`), as the library
 * `datasets` records them in the parquet files of the hub, without surrounding
 * whitespace.
 *
 * @returns Undefined if the file names no classes of the column.
 * @throws {SyntaxError} If the file is not parquet, the record is not JSON, or two names differ in whitespace only.
 */
export async function parquetClasses(
  path: string,
  column: string,
): Promise<readonly string[] | undefined> {
  let names: readonly string[] | undefined;
  try {
    const { key_value_metadata: entries = [] } = parquetMetadata(
      (await Deno.readFile(path)).buffer,
    );
    const recorded = entries.find(({ key }) => key === "huggingface")?.value;
    const { data } = Features.safeParse(JSON.parse(recorded ?? "null"));
    const { features = {} } = data?.info ?? {};
    if (Object.hasOwn(features, column)) names = features[column]?.names;
  } catch (error) {
    throw notParquet(path, error);
  }
  const twice = names?.find((name, i) => names.indexOf(name) < i);
  if (twice === undefined) return names;
  throw new SyntaxError(
    `"${path}" records the class ${
      quote(twice)
    } of the column "${column}" twice, apart from spaces around it; rename one`,
  );
}

/** An error with the path of the file that a library could not read. */
export function notParquet(path: string, error: unknown): SyntaxError {
  return new SyntaxError(
    `Cannot read "${path}" as parquet: ${
      error instanceof Error ? error.message : error
    }`,
    { cause: error },
  );
}

/** Maximum ratio of unpacked to packed bytes of Snappy, rounded up: an element of 3 bytes copies up to 64. */
const MAX_EXPANSION = 64;

/**
 * Unpacks a page of a parquet file, compressed with Snappy.
 *
 * @param size Bytes of the unpacked page, by its header
 * @throws {Error} If the page is damaged, or cannot have this size; this is checked before memory is allocated.
 */
export function unpackSnappy(page: Uint8Array, size: number): Uint8Array {
  if (size > page.length * MAX_EXPANSION) {
    throw new Error(
      `a page of ${page.length} bytes cannot unpack to ${size} bytes`,
    );
  }
  checkLiterals(page);
  const unpacked = new Uint8Array(size);
  snappyUncompress(page, unpacked);
  return unpacked;
}

/** Unpack pages of parquet files, to at most the size in their headers. */
export const COMPRESSORS: Compressors = {
  SNAPPY: unpackSnappy,
  GZIP: atMost(gunzipSync),
  BROTLI: atMost(brotliDecompressSync),
  ZSTD: atMost(zstdDecompressSync),
};

/** Unpacks by a function that refuses the limit 0 of an empty page, such as the dictionary of a column without values. */
function atMost(
  unpack: (
    page: Uint8Array,
    options: { readonly maxOutputLength: number },
  ) => Uint8Array,
) {
  return (page: Uint8Array, size: number) =>
    size === 0 ? new Uint8Array() : unpack(page, { maxOutputLength: size });
}

/**
 * Checks that no literal of a page compressed with Snappy extends beyond it: the
 * library reads a length of four bytes as signed, and then loops for seconds
 * (format_description.txt of google/snappy, section 2).
 */
function checkLiterals(page: Uint8Array): void {
  let place = 0;
  // The unpacked length.
  while (page[place]! >= 0x80) place++;
  place++;
  while (place < page.length) {
    const tag = page[place]!;
    const kind = tag & 3;
    place++;
    if (kind > 0) {
      place += [0, 1, 2, 4][kind]!;
      continue;
    }
    let length = tag >>> 2;
    const bytes = length - 59;
    if (bytes > 0) {
      length = 0;
      for (let i = bytes - 1; i >= 0; i--) {
        length = length * 256 + (page[place + i] ?? 0);
      }
      place += bytes;
    }
    place += length + 1;
    if (place > page.length) {
      throw new Error("a literal of a page is longer than the page");
    }
  }
}
