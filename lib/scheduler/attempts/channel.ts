import type { ChildEvent } from "./child.ts";

/** A line of a stage's standard output. */
export type ChildLine = ChildEvent | {
  readonly type: "print";
  readonly line: string;
};

/**
 * Tells the events of a stage's process from what it, or a library within it,
 * prints. An event is what follows the mark, wherever in the line it stands.
 */
export function readLine(line: string, mark: string): ChildLine[] {
  const start = line.indexOf(mark);
  if (start < 0) return [{ type: "print", line }];
  const printed: ChildLine[] = start > 0
    ? [{ type: "print", line: line.slice(0, start) }]
    : [];
  const json = line.slice(start + mark.length);
  try {
    return [...printed, JSON.parse(json) as ChildEvent];
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return [...printed, { type: "print", line: json }];
  }
}

/** A mark that only the process that is given it knows. */
export function newMark(): string {
  return `\x1e${crypto.randomUUID()} `;
}

/** Characters after which a line that does not end is taken for one. */
const LONGEST = 1 << 20;

/** The lines of a stream, the last one whether ended or not. */
export async function* linesOf(
  stream: ReadableStream<Uint8Array>,
): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
    if (rest.length > LONGEST) {
      yield rest;
      rest = "";
    }
  }
  if (rest !== "") yield rest;
}
