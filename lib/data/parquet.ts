import { getHeapStatistics } from "node:v8";
import {
  brotliDecompressSync,
  gunzipSync,
  zstdDecompressSync,
} from "node:zlib";
import { type Compressors, parquetMetadata, parquetSchema } from "hyparquet";
import { parquetReadColumn } from "hyparquet/src/read.js";
import { snappyUncompressor } from "hysnappy";
import * as z from "zod";
import { quote } from "./text_file.ts";

/**
 * Description of a data set that the library `datasets` writes into the
 * metadata of parquet files, under the key "huggingface".
 */
const Names = z.object({ names: z.array(z.string().trim().min(1)) });
const Features = z.object({
  info: z.object({
    features: z.record(
      z.string(),
      z.union([
        Names,
        // Of the members of a list, in two spellings.
        z.object({ feature: Names }).transform((it) => it.feature),
        z.tuple([Names]).transform(([it]) => it),
      ]).optional().catch(undefined),
    ),
  }),
});

/** Maximum bytes of a file, which is read as a whole. */
const MAX_BYTES = 4_000_000_000;

/**
 * Bytes that a row takes at least on the heap: two objects, an array, and its
 * place as a string.
 */
const ROW_BYTES = 200;

/**
 * Opens a parquet file, of which columns are read one by one.
 *
 * @param title What messages call it
 * @throws {SyntaxError} If the file is not parquet, or too large.
 */
export async function openParquet(path: string, title = path) {
  const { size } = await Deno.stat(path);
  if (size > MAX_BYTES) {
    throw new SyntaxError(
      `"${title}" has ${size} bytes; the maximum is ${MAX_BYTES}: use a part of it`,
    );
  }
  const file = (await Deno.readFile(path)).buffer;
  const { metadata, names } = await attempt(title, () => {
    const metadata = parquetMetadata(file);
    // A damaged file may have columns without names.
    const names = parquetSchema(metadata).children
      .map(({ element }) => String(element.name));
    return { metadata, names };
  });
  /** @throws {SyntaxError} If there are more than memory has room for. */
  const rowCount = () =>
    attempt(title, () => {
      // A few bytes can hold many equal values, so the size of the file tells
      // nothing.
      const { heap_size_limit: limit } = getHeapStatistics();
      const rows = Number(metadata.num_rows);
      if (rows * ROW_BYTES <= limit) return rows;
      const memory = `${(limit / 1e9).toFixed(1)} GB of memory`;
      throw new Error(
        `it has ${rows} rows, which do not fit into ${memory}: use a part of it`,
      );
    });
  return {
    /** Names of its columns. */
    names,
    rowCount,
    /**
     * Values of a column.
     *
     * @throws {SyntaxError} If the file is damaged, or says it has another
     * number of rows.
     */
    async column(name: string): Promise<ArrayLike<unknown>> {
      const rows = await rowCount();
      return await attempt(title, async () => {
        const values = await parquetReadColumn({
          file,
          metadata,
          columns: [name],
          compressors: COMPRESSORS,
        });
        if (values.length === rows) return values;
        throw new Error(
          `it says it has ${rows} rows; its column "${name}" has ${values.length}`,
        );
      });
    },
    /**
     * Class names of a column with class ids (`ClassLabel`), as the library
     * `datasets` records them in the parquet files of the hub, without
     * surrounding whitespace.
     *
     * @returns Undefined if the file names no classes of the column.
     * @throws {SyntaxError} If the record is not JSON, or two names differ in
     * whitespace only.
     */
    async classesOf(column: string): Promise<readonly string[] | undefined> {
      const recorded = metadata.key_value_metadata
        ?.find(({ key }) => key === "huggingface")?.value ?? "null";
      const record = await attempt(title, () => JSON.parse(recorded));
      const { features = {} } = Features.safeParse(record).data?.info ?? {};
      const names = Object.hasOwn(features, column)
        ? features[column]?.names
        : undefined;
      const twice = names?.find((name, i) => names.indexOf(name) < i);
      if (twice === undefined) return names;
      throw new SyntaxError(
        `"${title}" records the class ${
          quote(twice)
        } of the column "${column}" twice, apart from spaces around it; rename one`,
      );
    },
  };
}

/** Adds the title of a file to what the library says about it. */
async function attempt<T>(title: string, read: () => T | Promise<T>) {
  try {
    return await read();
  } catch (error) {
    const why = error instanceof TypeError
      ? "its metadata are damaged"
      : (error as Error).message;
    throw new SyntaxError(`Cannot read "${title}" as parquet: ${why}`, {
      cause: error,
    });
  }
}

/**
 * Maximum ratio of unpacked to packed bytes of Snappy, rounded up: an element
 * of 3 bytes copies up to 64.
 */
const MAX_EXPANSION = 64;

const unpackSnappy = snappyUncompressor();

/** Unpack pages of parquet files, to at most the size in their headers. */
export const COMPRESSORS: Compressors = {
  SNAPPY(page, size) {
    if (size <= page.length * MAX_EXPANSION) return unpackSnappy(page, size);
    throw new Error(
      `a page of ${page.length} bytes cannot unpack to ${size} bytes`,
    );
  },
  GZIP: atMost(gunzipSync),
  BROTLI: atMost(brotliDecompressSync),
  ZSTD: atMost(zstdDecompressSync),
};

/**
 * Unpacks by a function that refuses the limit 0 of an empty page, such as the
 * dictionary of a column without values.
 */
function atMost(
  unpack: (
    page: Uint8Array,
    options: { readonly maxOutputLength: number },
  ) => Uint8Array,
) {
  return (page: Uint8Array, size: number) =>
    size === 0 ? new Uint8Array() : unpack(page, { maxOutputLength: size });
}
