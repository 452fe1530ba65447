/**
 * How a delimited text file is written, so that a table goes out as it came in.
 */
import { delimiterOf } from "./delimited.ts";
import { readLines } from "./text_file.ts";

export interface TextForm {
  /** Character between columns. */
  readonly delimiter: string;
  /** Label of the WHATWG Encoding Standard. */
  readonly encoding: string;
  /** Whether it starts with a byte-order mark, by which Excel knows UTF-8. */
  readonly hasMark: boolean;
}

/**
 * The form of a `.csv` or `.tsv`.
 *
 * @throws {SyntaxError} As `readText()`, or if it has the delimiter of another
 * format.
 */
export async function textForm(
  path: string,
  encoding: string,
): Promise<TextForm> {
  const usual = /\.tsv(\.gz)?$/i.test(path) ? "\t" : ",";
  const lines = readLines(path, encoding);
  const { value: header = "" } = await lines.next();
  await lines.return(undefined);
  // Decoded with its mark, the first character tells whether there is one.
  const marked = readLines(path, encoding, { keepsMark: true });
  const { value: first = "" } = await marked.next();
  await marked.return(undefined);
  return {
    delimiter: delimiterOf(path, header, { required: [] }, usual),
    encoding,
    hasMark: first.startsWith("\ufeff"),
  };
}

/**
 * The bytes of a text in the encoding of a form, with its byte-order mark.
 *
 * @returns Undefined if the encoding lacks a character of the text.
 */
export function encodeText(
  text: string,
  { encoding, hasMark }: TextForm,
): Uint8Array<ArrayBuffer> | undefined {
  const marked = hasMark ? `\ufeff${text}` : text;
  const { encoding: name } = new TextDecoder(encoding);
  if (name === "utf-8") return new TextEncoder().encode(marked);
  if (name === "utf-16le" || name === "utf-16be") {
    const bytes = new Uint8Array(2 * marked.length);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < marked.length; i++) {
      view.setUint16(2 * i, marked.charCodeAt(i), name === "utf-16le");
    }
    return bytes;
  }
  return encodeBytewise(marked, name);
}

/** Encodes a text of characters that an encoding has as single bytes. */
function encodeBytewise(
  text: string,
  encoding: string,
): Uint8Array<ArrayBuffer> | undefined {
  const decoder = new TextDecoder(encoding);
  const byteOf = new Map<string, number>();
  for (let byte = 0; byte < 256; byte++) {
    byteOf.set(decoder.decode(Uint8Array.of(byte)), byte);
  }
  byteOf.delete("\ufffd");
  const bytes = new Uint8Array(text.length);
  let length = 0;
  for (const char of text) {
    const byte = byteOf.get(char);
    if (byte === undefined) return undefined;
    bytes[length] = byte;
    length++;
  }
  return bytes.slice(0, length);
}
