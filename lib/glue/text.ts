/**
 * Reads a text file line by line, in constant memory.
 *
 * Only `\n` and `\r\n` end a line: the other separators that Unicode knows are
 * part of the text. A byte-order mark is dropped.
 *
 * @throws {SyntaxError} If the file is not UTF-8.
 */
export async function* readLines(path: string): AsyncGenerator<string> {
  using file = await Deno.open(path);
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const buffer = new Uint8Array(1 << 18);
  let lines = 0;
  let rest = "";
  for (let count; (count = await file.read(buffer)) !== null;) {
    const ended = decode(buffer.subarray(0, count)).split("\n");
    ended[0] = rest + ended[0];
    rest = ended.pop()!;
    for (const line of ended) {
      lines++;
      yield line.endsWith("\r") ? line.slice(0, -1) : line;
    }
  }
  rest += decode();
  if (rest !== "") yield rest;

  function decode(bytes?: Uint8Array): string {
    try {
      return decoder.decode(bytes, { stream: bytes !== undefined });
    } catch (error) {
      throw new SyntaxError(
        `"${path}" is not UTF-8 (shortly after line ${lines}); convert it, with "iconv" say`,
        { cause: error },
      );
    }
  }
}

/** Characters of a text that a message shows. */
const LONGEST = 80;

/** A text out of a user's file for a message: in quotes, cut, and without what would play tricks on a terminal. */
export function quote(text: string): string {
  const cut = text.length > LONGEST ? `${text.slice(0, LONGEST)}...` : text;
  return `"${cut.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\uFFFD")}"`;
}

/** Texts for a message: each in quotes, the first ten. */
export function quoteAll(texts: readonly string[]): string {
  const shown = texts.slice(0, 10).map(quote).join(", ");
  const more = texts.length - 10;
  return more > 0 ? `${shown} and ${more} more` : shown;
}
