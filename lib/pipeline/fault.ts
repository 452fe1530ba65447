import type { Position } from "./graph.ts";

/** A piece of a source text: where it starts, and how long it is, in UTF-16 units. */
export interface Span {
  readonly offset: number;
  readonly length: number;
}

/** Something wrong with a pipeline; without a span if it does not stand in the file. */
export interface Fault {
  readonly message: string;
  readonly span?: Span;
}

/** More faults than this are not shown. */
const MOST_SHOWN = 50;

/** Gathers faults; what a matrix repeats is kept once. */
export class FaultList {
  readonly #faults = new Map<string, Fault>();

  add(message: string, span?: Span): void {
    const key = `${span?.offset} ${message}`;
    if (this.#faults.size <= MOST_SHOWN && !this.#faults.has(key)) {
      this.#faults.set(key, { message, ...(span ? { span } : {}) });
    }
  }

  get all(): readonly Fault[] {
    return [...this.#faults.values()];
  }

  get size(): number {
    return this.#faults.size;
  }
}

/** Longest piece of a source line that is shown. */
const WIDEST = 100;

/** The text of a file, able to say on which line an offset lies. */
export class SourceText {
  readonly #lineStarts: number[] = [0];

  constructor(readonly file: string, readonly text: string) {
    for (const { index } of text.matchAll(/\n/g)) {
      this.#lineStarts.push(index + 1);
    }
  }

  position(offset: number): Position {
    let low = 0;
    let high = this.#lineStarts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#lineStarts[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    return {
      file: this.file,
      line: low + 1,
      column: offset - this.#lineStarts[low]! + 1,
    };
  }

  /** A line without its end. */
  line(number: number): string {
    const start = this.#lineStarts[number - 1] ?? this.text.length;
    const end = this.#lineStarts[number] ?? this.text.length;
    return this.text.slice(start, end).replace(/\r?\n$/, "");
  }
}

/** All faults of one pipeline, in the order of its file. */
export class PipelineError extends Error {
  override readonly name = "PipelineError";
  readonly faults: readonly (Fault & { readonly position?: Position })[];

  constructor(source: SourceText, faults: readonly Fault[]) {
    const sorted = [...faults].sort((a, b) =>
      (a.span?.offset ?? -1) - (b.span?.offset ?? -1)
    );
    super(report(source, sorted));
    this.faults = sorted.map((fault) =>
      fault.span
        ? { ...fault, position: source.position(fault.span.offset) }
        : fault
    );
  }
}

function report(source: SourceText, faults: readonly Fault[]): string {
  const shown = faults.slice(0, MOST_SHOWN).map((it) => describe(source, it));
  if (faults.length > MOST_SHOWN) shown.push(`${source.file}: And more`);
  return shown.join("\n\n");
}

/**
 * A fault as it is shown:
 *
 *     smoke.yaml:7:5: Unknown key "matrx" of stage "tokenize"; did you mean "matrix"?
 *       7 |     matrx: { glue: [cola] }
 *         |     ~~~~~
 */
function describe(source: SourceText, { message, span }: Fault): string {
  if (span === undefined) return printable(`${source.file}: ${message}`);
  const { line, column } = source.position(span.offset);
  const whole = source.line(line);
  const from = Math.max(0, column - 1 - WIDEST / 2);
  const text = whole.slice(from, from + WIDEST);
  const indent = text.slice(0, column - 1 - from).replace(/[^\t]/g, " ");
  const length = Math.max(
    1,
    Math.min(span.length, text.length - indent.length),
  );
  const number = String(line).padStart(4);
  return [
    printable(`${source.file}:${line}:${column}: ${message}`),
    `${number} | ${printable(text)}`,
    `${" ".repeat(number.length)} | ${indent}${"~".repeat(length)}`,
  ].join("\n");
}

/** The text with control characters made visible, so that a hostile file cannot drive the terminal. */
export function printable(text: string): string {
  return text.replace(/(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd");
}
