import * as z from "zod";
import { SettingError } from "./setting_error.ts";

/**
 * Maximum bytes of a file that is read as a whole: V8's longest string has 2^29
 * - 24 characters.
 */
const MAX_BYTES = 500_000_000;

/**
 * Bytes of a file, of at most 500 MB; unpacked if its name ends in `.gz`.
 *
 * @throws {SyntaxError} If it has more bytes, or is not gzip.
 */
async function readBytes(path: string): Promise<Uint8Array> {
  const isPacked = path.toLowerCase().endsWith(".gz");
  const { size } = await Deno.stat(path);
  if (size > MAX_BYTES) {
    throw new SyntaxError(
      `"${path}" has ${size} bytes; the maximum is ${MAX_BYTES}: convert it to .jsonl or .parquet`,
    );
  }
  const bytes = await Deno.readFile(path);
  if (!isPacked) return bytes;
  // Unlike DecompressionStream, it reads files of several parts, as bgzip
  // writes them.
  const { gunzipSync } = await import("node:zlib");
  try {
    return gunzipSync(bytes, { maxOutputLength: MAX_BYTES });
  } catch (error) {
    throw new SyntaxError(
      `Cannot unpack "${path}": ${(error as Error).message}`,
      { cause: error },
    );
  }
}

/** A function that decodes a file piece by piece, and without a piece ends. */
function decoderOf(path: string, encoding = "utf-8", keepsMark = false) {
  const decoder = new TextDecoder(encoding, {
    fatal: true,
    ignoreBOM: keepsMark,
  });
  return (bytes?: Uint8Array, lines = 0) => {
    try {
      return decoder.decode(bytes, { stream: bytes !== undefined });
    } catch (error) {
      // Where the first character is replaced.
      const [before] = new TextDecoder(encoding).decode(bytes).split("\ufffd");
      const place = bytes === undefined
        ? " at its end"
        : ` in line ${lines + before!.split("\n").length}`;
      throw new SettingError(
        `"${path}" is not valid ${decoder.encoding.toUpperCase()}${place}; name its encoding: -S encoding=latin1 (of init and predict, --encoding latin1) for files of Western European spreadsheets`,
        { name: "encoding", value: "latin1" },
        { cause: error },
      );
    }
  };
}

/**
 * Reads a text file of at most 500 MB, unpacked if its name ends in `.gz`. A
 * byte-order mark is dropped.
 *
 * @param encoding Label of the WHATWG Encoding Standard, which takes `latin1`
 * for Windows-1252
 * @throws {SyntaxError} If the file has another encoding, is larger, or is not
 * gzip.
 */
export async function readText(
  path: string,
  encoding?: string,
): Promise<string> {
  const decode = decoderOf(path, encoding);
  return decode(await readBytes(path)) + decode();
}

/**
 * Parses the text of a JSON file.
 *
 * @throws {SyntaxError} Naming the file, and the invalid field if there is one.
 */
export function parseJson<T extends z.ZodType = z.ZodUnknown>(
  text: string,
  path: string,
  schema: T = z.unknown() as never,
): z.output<T> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const { message } = error as SyntaxError;
    throw new SyntaxError(`"${path}" is not valid JSON: ${message}`, {
      cause: error,
    });
  }
  const { success, data, error } = schema.safeParse(value);
  if (success) return data;
  throw new SyntaxError(
    `"${path}" has invalid content:\n${z.prettifyError(error)}`,
  );
}

/**
 * Maximum number of characters in a line; a longer one suggests a file of
 * another format.
 */
const MAX_LINE = 1 << 26;

/**
 * @throws {SyntaxError} If a line, of which this many characters are known, is
 * too long.
 */
export function checkLine(length: number, place: string, max = MAX_LINE) {
  if (length <= max) return;
  throw new SyntaxError(
    `${place}: The line has more than ${max} characters; use a text file with one example per line`,
  );
}

/**
 * Reads a text file line by line, with one line in memory at a time unless its
 * name ends in `.gz`.
 *
 * Only `\n` and `\r\n` end a line; other Unicode line separators are part of
 * the text. A byte-order mark is dropped.
 *
 * @param encoding As in {@linkcode readText}
 * @param options.keepsMark Whether a byte-order mark stays
 * @throws {SyntaxError} As {@linkcode readText}, or if a line has more than 64
 * Mi characters.
 */
export async function* readLines(
  path: string,
  encoding?: string,
  { keepsMark = false }: { readonly keepsMark?: boolean } = {},
): AsyncGenerator<string> {
  const decode = decoderOf(path, encoding, keepsMark);
  let lines = 0;
  let rest = "";
  for await (const bytes of piecesOf(path)) {
    const ended = decode(bytes, lines).split("\n");
    ended[0] = rest + ended[0];
    rest = ended.pop()!;
    checkLine(rest.length, `${path}:${lines + ended.length + 1}`);
    for (const line of ended) {
      lines++;
      yield line.endsWith("\r") ? line.slice(0, -1) : line;
    }
  }
  rest += decode();
  if (rest !== "") yield rest;
}

async function* piecesOf(path: string): AsyncGenerator<Uint8Array> {
  if (path.toLowerCase().endsWith(".gz")) return yield await readBytes(path);
  yield* (await Deno.open(path)).readable;
}

/** Maximum number of characters that a message quotes. */
const MAX_LENGTH = 80;

/**
 * Quotes text from a user's file for a message: shortened, with control
 * characters replaced.
 */
export function quote(text: string): string {
  const cut = text.length > MAX_LENGTH
    ? `${text.slice(0, MAX_LENGTH)}...`
    : text;
  return `"${cut.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\uFFFD")}"`;
}

/** Quotes a list of texts for a message; shows the first ten. */
export function quoteAll(texts: readonly string[]): string {
  const shown = texts.slice(0, 10).map(quote).join(", ");
  const more = texts.length - 10;
  return more > 0 ? `${shown} and ${more} more` : shown;
}
