import type { Example } from "./example.ts";
import { quote, quoteAll } from "./quote.ts";
import type { Row } from "./table.ts";

/** What the rows of a user's table mean. */
export type Labelling =
  /** A class; names in the order of their numbers. */
  | { readonly kind: "classes"; readonly names: readonly string[] }
  /** A number. */
  | { readonly kind: "score" };

/** More classes than this are rather the values of a regression, or a wrong column. */
const MOST_CLASSES = 1000;

const DECIMAL = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i;

/**
 * The classes that occur, in the order of their numbers if all are whole
 * numbers, else in alphabetical order.
 *
 * @param rows Rows whose last value is the label.
 * @throws {SyntaxError} If they cannot be the classes of a task.
 */
export function classesOf(rows: readonly Row[]): string[] {
  const names = new Set(rows.map(readClass));
  if (names.size < 2 || names.size > MOST_CLASSES) {
    throw new SyntaxError(
      `The labels have ${names.size} different values; expected 2 to ${MOST_CLASSES} classes${
        names.size > 2 ? ' (for scores set "regression: true")' : ""
      } (last row: ${rows.at(-1)?.place ?? "none"})`,
    );
  }
  const sorted = [...names].sort();
  return sorted.every((name) => /^-?\d{1,15}$/.test(name))
    ? sorted.sort((a, b) => Number(a) - Number(b))
    : sorted;
}

/**
 * Tells whether a test set is labelled: whether any row holds a label, or -1
 * where that is a label of the training set and not the hub's sign for none.
 *
 * @param rows Rows whose last value is the label.
 * @param training Rows of the training set.
 */
export function areLabelled(
  rows: readonly Row[],
  labelling: Labelling,
  training: readonly Row[],
): boolean {
  const known = labelling.kind === "classes"
    ? labelling.names
    : training.map(({ values }) => values.at(-1));
  const mayBeMinusOne = known.some(isMinusOne);
  return rows.some(({ values }) => {
    const value = values.at(-1);
    return !isEmpty(value) && (mayBeMinusOne || !isMinusOne(value));
  });
}

/**
 * Turns rows into examples.
 *
 * @param rows Rows whose values are the one or two texts, then the label.
 * @param labelling Left out if the labels are not known.
 * @throws {SyntaxError} Naming the row, if a value is not what it should be.
 */
export function toExamples(
  rows: readonly Row[],
  labelling: Labelling | undefined,
): Example[] {
  return rows.map((row, index) => {
    const [text, pair] = row.values.slice(0, -1).map((value) => {
      if (typeof value === "string") return value;
      throw new SyntaxError(
        `${row.place}: Expected a text, found ${describe(value)}`,
      );
    });
    return {
      index,
      text: text!,
      ...(pair !== undefined && { pair }),
      ...(labelling && { label: readLabel(row, labelling) }),
    };
  });
}

function readLabel(row: Row, labelling: Labelling): number {
  if (labelling.kind === "score") {
    const value = row.values.at(-1);
    const score = toNumber(value);
    if (Number.isFinite(score)) return score;
    throw new SyntaxError(
      `${row.place}: Expected a number as the label, found ${describe(value)}`,
    );
  }
  const name = readClass(row);
  const label = labelling.names.indexOf(name);
  if (label >= 0) return label;
  throw new SyntaxError(
    `${row.place}: Label ${quote(name)} is not one of the classes (${
      quoteAll(labelling.names)
    })`,
  );
}

/** The number that a value is, or spells in decimal; NaN if it is none. */
function toNumber(value: unknown): number {
  if (typeof value === "number" || typeof value === "bigint") {
    return Number(value);
  }
  const spelt = typeof value === "string" && DECIMAL.test(value.trim());
  return spelt ? Number(value) : NaN;
}

/** Spaces around a class are no part of its name. */
function readClass({ place, values }: Row): string {
  const value = values.at(-1);
  if (typeof value === "string" && !isEmpty(value)) return value.trim();
  if (
    typeof value === "number" && Number.isFinite(value) ||
    typeof value === "bigint" || typeof value === "boolean"
  ) {
    return String(value);
  }
  throw new SyntaxError(`${place}: Expected a label, found ${describe(value)}`);
}

function isMinusOne(value: unknown): boolean {
  return toNumber(value) === -1;
}

function isEmpty(value: unknown): boolean {
  return value === undefined || value === null ||
    typeof value === "string" && value.trim() === "";
}

function describe(value: unknown): string {
  if (isEmpty(value)) return "nothing";
  if (typeof value === "string") return quote(value);
  if (typeof value !== "object") return String(value);
  return Array.isArray(value) ? "a list" : "an object";
}
