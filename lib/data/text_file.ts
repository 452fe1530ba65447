/** Maximum number of characters in a line; a longer one suggests a file of another format. */
const MAX_LINE = 1 << 26;

/**
 * Reads a UTF-8 text file line by line, with one line in memory at a time.
 *
 * Only `\n` and `\r\n` end a line; other Unicode line separators are part of
 * the text. A byte-order mark is dropped.
 *
 * @throws {SyntaxError} If the file is not UTF-8 or has a line of more than 64 Mi characters.
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
    if (rest.length > MAX_LINE) {
      throw new SyntaxError(
        `${path}:${
          lines + ended.length + 1
        }: The line has more than ${MAX_LINE} characters; use a text file with one example per line`,
      );
    }
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
        `"${path}" is not valid UTF-8 (after line ${lines}); convert it, for example with "iconv"`,
        { cause: error },
      );
    }
  }
}

/** Maximum number of characters that a message quotes. */
const MAX_LENGTH = 80;

/** Quotes text from a user's file for a message: shortened, with control characters replaced. */
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
