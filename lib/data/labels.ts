import type { Example } from "./example.ts";
import type { Row } from "./columns.ts";
import { quote } from "./text_file.ts";

/** How the labels of a table are read. */
export interface Labelling {
  /**
   * @throws {SyntaxError} With the place, if the row's last value is no label
   */
  read(row: Row): Partial<Omit<Example, "index" | "pair">>;
  /**
   * Whether a file names the classes, where -1 is the id of examples without a
   * label.
   */
  readonly areRecorded?: boolean;
}

/**
 * Maximum number of classes; more distinct values suggest a regression or a
 * wrong column.
 */
export const MAX_CLASSES = 1000;

/**
 * Maximum number of distinct decimal numbers that may be classes, such as half
 * stars; more suggest a regression.
 */
const MAX_GRADES = 10;

/**
 * Number of rows from which fewer than two rows per class suggest a regression
 * or a wrong column.
 */
const MIN_ROWS = 20;

const DECIMAL = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i;

/**
 * The reason why the labels of `rows` rows are unlikely to be classes;
 * undefined if there is none.
 */
export function doubtOf(
  names: ReadonlySet<string>,
  rows: number,
): string | undefined {
  const all = [...names];
  const decimal = all.find((name) => !Number.isInteger(toNumber(name)));
  if (
    names.size > MAX_GRADES && decimal !== undefined &&
    all.every((name) => DECIMAL.test(name))
  ) {
    const example = quote(decimal);
    return `The labels have ${names.size} different values, all of them numbers and some with decimals, such as ${example}`;
  }
  if (rows >= MIN_ROWS && names.size > rows / 2) {
    const example = quote(all[0]!);
    return `The labels of ${rows} rows have ${names.size} different values, such as ${example}, too many to learn as classes: check the column of the label`;
  }
  return undefined;
}

/**
 * Places of the first rows, with the name of their file once:
 * `a.csv:3, 5, 8 and 12 more`.
 */
export function placesOf(rows: readonly Row[], most = 20): string {
  const files = Map.groupBy(
    rows.slice(0, most),
    ({ place }) => place.replace(/\d+$/, ""),
  );
  const shown = [...files].map(([file, rows]) =>
    `${file}${rows.map(({ place }) => place.slice(file.length)).join(", ")}`
  );
  const more = rows.length - most;
  return shown.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/**
 * Replaces class ids by the names that a parquet file gives its classes. Other
 * labels, such as -1 for an unpublished one, are kept.
 *
 * @param rows Rows whose last value is the label.
 */
export function nameClasses(
  rows: readonly Row[],
  names: readonly string[],
): Row[] {
  const named = (label: unknown): unknown =>
    typeof label === "number" || typeof label === "bigint"
      ? names[Number(label)] ?? label
      : listIn(label)?.map(named) ?? label;
  return rows.map((row) => ({
    ...row,
    values: row.values.with(-1, named(row.values.at(-1))),
  }));
}

/** The items of a list, also of one in a Parquet file. */
export function listIn(value: unknown): unknown[] | undefined {
  return Array.isArray(value) || ArrayBuffer.isView(value)
    ? Array.from(value as ArrayLike<unknown>)
    : undefined;
}

/**
 * Tells whether any row of a test set has a label. A label of -1 counts only if
 * the training set has it too: on the hub it marks an unpublished label.
 *
 * @param rows Rows of the test set, whose last value is the label.
 * @param training Labelled rows of the training set.
 */
export function areLabelled(
  rows: readonly Row[],
  training: readonly Row[],
): boolean {
  const isMinusOne = ({ values }: Row) => toNumber(values.at(-1)) === -1;
  const mayBeMinusOne = training.some(isMinusOne);
  return rows.some((row) =>
    !isEmpty(row.values.at(-1)) && (mayBeMinusOne || !isMinusOne(row))
  );
}

/**
 * Maximum number of characters in a text. A tokenizer takes a second and 150 MB
 * of memory for each million, of which a model reads a few thousand.
 */
const MAX_TEXT = 4_000_000;

/**
 * A value of a table that must be a text.
 *
 * @throws {SyntaxError} With its place, if it is none, or has more than 4
 * million characters.
 */
export function textIn(value: unknown, place: string, what = "text"): string {
  if (typeof value !== "string") {
    throw new SyntaxError(
      `${place}: Expected ${what}, found ${describeValue(value)}`,
    );
  }
  if (value.length <= MAX_TEXT) return value;
  throw new SyntaxError(
    `${place}: The text has ${value.length} characters; the maximum is ${MAX_TEXT}: shorten it, since a model reads only the first few thousand`,
  );
}

/**
 * Converts rows to examples. Those without a label, which only a file that
 * names its classes may have, have none.
 *
 * @param rows Rows whose values are one or two texts, then the label.
 * @param labelling Undefined for a test set without labels.
 * @throws {SyntaxError} With the location of the row, if a value is invalid.
 */
export function toExamples(
  rows: readonly Row[],
  labelling: Labelling | undefined,
): Example[] {
  // As those of SNLI on which the annotators disagree.
  const lacksLabel = ({ values }: Row) =>
    labelling?.areRecorded === true &&
    [-1, -1n].some((it) => it === values.at(-1));
  return rows.map((row, index) => {
    const [text, pair] = row.values.slice(0, -1)
      .map((value) => textIn(value, row.place));
    return {
      index,
      text: text!,
      ...(pair !== undefined && { pair }),
      ...(labelling && !lacksLabel(row) && labelling.read(row)),
    };
  });
}

/**
 * The finite number that a value is, or spells in decimal; NaN for anything
 * else.
 */
export function toNumber(value: unknown): number {
  const isNumber = typeof value === "number" || typeof value === "bigint" ||
    typeof value === "string" && DECIMAL.test(value.trim());
  const number = isNumber ? Number(value) : NaN;
  return Number.isFinite(number) ? number : NaN;
}

/**
 * The class name that a value spells, without surrounding whitespace.
 *
 * @returns Undefined for a value that cannot be a label: nothing, a list, an
 * object, a date, or a number beyond 2^53, which may have been another in the
 * file.
 */
export function className(value: unknown): string | undefined {
  if (typeof value === "string" && !isEmpty(value)) return value.trim();
  return typeof value === "number" &&
        Math.abs(value) <= Number.MAX_SAFE_INTEGER ||
      typeof value === "bigint" || typeof value === "boolean"
    ? String(value)
    : undefined;
}

/** Whether a value is absent, null or blank. */
export function isEmpty(value: unknown): boolean {
  return value === undefined || value === null ||
    typeof value === "string" && value.trim() === "";
}

/** A value of a table as a message quotes it: `"abc"`, `3`, `a list`. */
export function describeValue(value: unknown): string {
  if (isEmpty(value)) return "nothing";
  if (typeof value === "string") return quote(value);
  if (typeof value !== "object") return String(value);
  if (value instanceof Date) return "a date";
  return Array.isArray(value) ? "a list" : "an object";
}
