/** Faults of a pipeline file, and the source text that they are shown with. */

/** Steps from the root of a file to a value: keys of mappings, indices of lists. */
export type Path = readonly PropertyKey[];

/** A mapping of a pipeline file. */
export type Mapping = Record<string, unknown>;

/** Whether a value of a pipeline file is a mapping. */
export function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A value as a message quotes it: `text "abc"`, `"3"`, `a list`. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (isMapping(value)) return "a mapping";
  const text = String(value);
  return `${typeof value === "string" ? "text " : ""}"${
    text.length > 80 ? text.slice(0, 80) + "..." : text
  }"`;
}

/** A piece of a source text: offset and length in UTF-16 units. */
export interface Span {
  readonly offset: number;
  readonly length: number;
}

/** A fault of a pipeline; without a span if it has no place in the file. */
export interface Fault {
  readonly message: string;
  readonly span?: Span;
  /** The setting that it is a fault of, instead of the file: `train.lr=x`. */
  readonly setting?: string;
}

/** A value of the file, or the key that leads to it. */
export interface Place {
  readonly path: Path;
  readonly of: "value" | "key";
}

/** A fault whose line and column have not been looked up. */
interface PlacedFault {
  readonly message: string;
  /** Absent if the fault has no place in the file. */
  readonly place?: Place;
  /** The setting that it is a fault of: `train.lr=x`. */
  readonly setting?: string;
}

/** Maximum number of faults that are shown. */
const MAX_SHOWN = 50;

/** Collects faults by place; a fault that repeats for each stage of a matrix counts once. */
export class FaultList {
  readonly #faults = new Map<string, PlacedFault>();

  /** Adds a fault that has no place in the file. */
  add(message: string): void {
    this.#add(message);
  }

  /** Adds a fault of a setting, such as `train.lr=x`. */
  addOfSetting(setting: string, message: string): void {
    this.#add(message, undefined, setting);
  }

  /** Adds a fault of the value at a path. */
  addAt(path: Path, message: string): void {
    this.#add(message, { path, of: "value" });
  }

  /** Adds a fault of the last key of a path. */
  addAtKey(path: Path, message: string): void {
    this.#add(message, { path, of: "key" });
  }

  #add(message: string, place?: Place, setting?: string): void {
    if (this.#faults.size > MAX_SHOWN) return;
    const key = JSON.stringify([message, place, setting]);
    this.#faults.set(key, {
      message,
      ...(place && { place }),
      ...(setting !== undefined && { setting }),
    });
  }

  get all(): readonly PlacedFault[] {
    return [...this.#faults.values()];
  }

  get size(): number {
    return this.#faults.size;
  }
}

/** Line and column of a file, both 1-based. */
interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Maximum number of characters of a source line that are shown. */
const WIDEST = 100;

/** The text of a file, with lines and columns. */
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

  /** The text of a 1-based line, without its line break. */
  line(number: number): string {
    const start = this.#lineStarts[number - 1] ?? this.text.length;
    const end = this.#lineStarts[number] ?? this.text.length;
    return this.text.slice(start, end).replace(/\r?\n$/, "");
  }
}

/** All faults of one pipeline file, in the order of its lines. */
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
  const shown = faults.slice(0, MAX_SHOWN).map((it) => render(source, it));
  if (faults.length > MAX_SHOWN) {
    shown.push(`${source.file}: There are more faults`);
  }
  return shown.join("\n\n");
}

/**
 * Renders a fault with its source line:
 *
 *     smoke.yaml:7:5: Unknown key "matrx" of stage "tokenize"; did you mean "matrix"?
 *       7 |     matrx: { glue: [cola] }
 *         |     ~~~~~
 */
function render(source: SourceText, fault: Fault): string {
  const { message, span, setting } = fault;
  if (setting !== undefined) return printable(`-S ${setting}: ${message}`);
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

/** Replaces control characters, so that a hostile file cannot control the terminal. */
export function printable(text: string): string {
  return text.replace(/(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd");
}

/** True if a path does not exist, or is below a file. */
export function isMissing(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound ||
    error instanceof Deno.errors.NotADirectory;
}

/** Limits of a pipeline file: bytes, values with aliases expanded, and levels of nesting. */
export const LIMITS = { bytes: 262_144, values: 100_000, depth: 100 };

/**
 * Reads the text of a pipeline file.
 *
 * @throws {PipelineError} If the path is not a UTF-8 file of at most 256 KiB.
 */
export async function readText(file: string): Promise<string> {
  const refuse = (message: string) =>
    new PipelineError(new SourceText(file, ""), [{ message }]);
  let info: Deno.FileInfo;
  try {
    info = await Deno.stat(file);
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw refuse("The file does not exist");
  }
  // A device or a pipe may never end.
  if (!info.isFile) throw refuse("It is not a regular file");
  if (info.size > LIMITS.bytes) {
    throw refuse(
      `The file has ${info.size} bytes; the maximum for a pipeline file is ${LIMITS.bytes}`,
    );
  }
  const bytes = await Deno.readFile(file);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw refuse("The file is not valid UTF-8");
  }
}

/** Maximum length of a word that gets a suggestion; hostile words may have any length. */
const LONGEST = 64;

/** The end of a message about an unknown word: `; did you mean "matrix"?`, or empty if no known word is close. */
export function didYouMean(word: string, known: Iterable<string>): string {
  const closest = closestWord(word, known);
  return closest === undefined ? "" : `; did you mean "${closest}"?`;
}

/**
 * The known word that `word` is most likely a misspelling of.
 *
 * A misspelling changes at most a third of the letters; swapped neighbours
 * count as one change. Case does not count.
 */
function closestWord(
  word: string,
  known: Iterable<string>,
): string | undefined {
  if (word.length > LONGEST) return undefined;
  let closest: string | undefined;
  let best = Math.floor(Math.max(word.length, 3) / 3) + 1;
  for (const candidate of known) {
    if (Math.abs(candidate.length - word.length) >= best) continue;
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < best) {
      best = distance;
      closest = candidate;
    }
  }
  return closest;
}

/** Optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let distance = Math.min(
        last[j]! + 1,
        row[j - 1]! + 1,
        last[j - 1]! + (same ? 0 : 1),
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        distance = Math.min(distance, beforeLast[j - 2]! + 1);
      }
      row.push(distance);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
