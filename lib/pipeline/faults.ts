/** Faults of a pipeline file, and the source text that they are shown with. */
import { statIfThere } from "../files/files.ts";

/**
 * Steps from the root of a file to a value: keys of mappings, indices of lists.
 */
export type Path = readonly PropertyKey[];

/** A mapping of a pipeline file. */
export type Mapping = Record<string, unknown>;

/** Whether a value of a pipeline file is a mapping. */
export function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value at a path, if there is one. */
export function valueAt(value: unknown, path: Path): unknown {
  for (const step of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = Object.hasOwn(value, step)
      ? (value as Record<PropertyKey, unknown>)[step]
      : undefined;
  }
  return value;
}

/** A value as a message quotes it: `text "abc"`, `"3"`, `a list`. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (isMapping(value)) return "a mapping";
  const type = typeof value === "string" ? "text " : "";
  return `${type}"${abbreviated(String(value))}"`;
}

/** The start of a text, for a message. */
export function abbreviated(text: string): string {
  return text.length > 80 ? text.slice(0, 80) + "..." : text;
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
export interface PlacedFault extends Omit<Fault, "span"> {
  /** Absent if the fault has no place in the file. */
  readonly place?: Place;
}

/**
 * Collects faults by place; a fault that repeats for each stage of a matrix
 * counts once.
 */
export class FaultList {
  readonly #faults = new Map<string, PlacedFault>();

  /**
   * @param where Its place in the file, or the setting that it is a fault of,
   * if there is one.
   */
  add(message: string, where: Omit<PlacedFault, "message"> = {}): void {
    const fault = { message, ...where };
    this.#faults.set(JSON.stringify(fault), fault);
  }

  /** Adds a fault of the value at a path. */
  addAt(path: Path, message: string): void {
    this.add(message, { place: { path, of: "value" } });
  }

  /** Adds a fault of the last key of a path. */
  addAtKey(path: Path, message: string): void {
    this.add(message, { place: { path, of: "key" } });
  }

  get all(): readonly PlacedFault[] {
    return [...this.#faults.values()];
  }

  get size(): number {
    return this.#faults.size;
  }
}

/** The text of a file, with lines and columns. */
export class SourceText {
  constructor(readonly file: string, readonly text: string) {}

  /** File, line and column of an offset, the latter two 1-based. */
  position(offset: number) {
    const before = this.text.slice(0, offset);
    return {
      file: this.file,
      line: before.split("\n").length,
      column: offset - before.lastIndexOf("\n"),
    };
  }

  /** The text of a 1-based line, without its line break. */
  line(number: number): string {
    return this.text.split(/\r?\n/)[number - 1] ?? "";
  }
}

/** All faults of one pipeline file, in the order of its lines. */
export class PipelineError extends Error {
  override readonly name = "PipelineError";
  readonly faults: readonly (Fault & {
    readonly position?: ReturnType<SourceText["position"]>;
  })[];

  constructor(source: SourceText, faults: readonly Fault[]) {
    const sorted = [...faults].sort((a, b) =>
      (a.span?.offset ?? -1) - (b.span?.offset ?? -1)
    );
    super(sorted.map((it) => render(source, it)).join("\n\n"));
    this.faults = sorted.map((fault) =>
      fault.span
        ? { ...fault, position: source.position(fault.span.offset) }
        : fault
    );
  }
}

/**
 * Renders a fault with its source line:
 *
 *     smoke.yaml:7:5: Unknown key "matrx" of stage "tokenize"; did you mean
 * "matrix"?
 *       7 |     matrx: { glue: [cola] }
 *         |     ~~~~~
 */
function render(source: SourceText, fault: Fault): string {
  const { message, span, setting } = fault;
  if (setting !== undefined) return printable(`-S ${setting}: ${message}`);
  if (span === undefined) return printable(`${source.file}: ${message}`);
  const { line, column } = source.position(span.offset);
  const text = source.line(line);
  const indent = text.slice(0, column - 1).replace(/[^\t]/g, " ");
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

/**
 * Replaces control characters, so that a hostile file cannot control the
 * terminal.
 */
export function printable(text: string): string {
  return text.replace(/(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd");
}

/**
 * Reads the text of a pipeline file.
 *
 * @throws {PipelineError} If the path is not a UTF-8 file.
 */
export async function readText(file: string): Promise<string> {
  const refuse = (message: string) =>
    new PipelineError(new SourceText(file, ""), [{ message }]);
  const info = statIfThere(file);
  if (info === undefined) throw refuse("The file does not exist");
  // A device or a pipe may never end.
  if (!info.isFile) throw refuse("It is not a regular file");
  const bytes = await Deno.readFile(file);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw refuse("The file is not valid UTF-8");
  }
}
