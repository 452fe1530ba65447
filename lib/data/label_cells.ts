/** Cells in which a text has any number of labels. */
import {
  className,
  describeValue,
  isEmpty,
  listIn,
  toNumber,
} from "./labels.ts";
import { quote } from "./text_file.ts";

/**
 * Separators that are recognized, the one that names have most rarely first.
 */
const SEPARATORS = ["|", ";", ","];

/**
 * The separator of labels in a column: the first one that some values have, of
 * which at least half are names alone with it between them. The others are
 * faults.
 *
 * @param names Names of labels, if they are known, which no separator is part
 * of
 * @returns Undefined if no value has one
 */
export function separatorIn(
  values: readonly unknown[],
  names: readonly string[] = [],
): string | undefined {
  const texts = values.filter((it) => typeof it === "string")
    .filter((it) => jsonList(it) === undefined && !OPENED_LIST.test(it));
  const usable = SEPARATORS.filter((separator) =>
    !names.some((name) => name.includes(separator))
  );
  return usable.find((separator) => {
    const lists = texts.filter((it) => it.includes(separator));
    const valid = lists.filter((it) =>
      it.split(separator).every((part) => !isEmpty(part))
    );
    return valid.length > 0 && 2 * valid.length >= lists.length;
  });
}

/** How a list of texts begins in JSON or as Python writes it. */
const OPENED_LIST = /^\s*\[\s*["']/;

/** The items of a list in JSON, such as `["a", "b"]`. */
function jsonList(text: string): unknown[] | undefined {
  if (!/^\s*\[[^]*\]\s*$/.test(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    // A name in brackets.
    return undefined;
  }
}

/**
 * The labels of a row: a list, also one in JSON, or a text of names between
 * which a separator stands.
 *
 * @throws {SyntaxError} With its place, if it is neither, is a list that is no
 * valid JSON, or a name is empty
 */
export function labelsIn(
  value: unknown,
  place: string,
  separator: string | undefined,
): string[] {
  if (isEmpty(value)) return [];
  const list = listIn(value) ??
    (typeof value === "string" ? jsonList(value) : undefined);
  if (
    list === undefined && typeof value === "string" && OPENED_LIST.test(value)
  ) {
    throw new SyntaxError(
      `${place}: ${
        quote(value)
      } begins as a list, but is none in JSON: write it as ["one", "other"]`,
    );
  }
  const items = list ??
    (separator !== undefined && typeof value === "string"
      ? value.split(separator)
      : [value]);
  return items.map((item) => {
    const name = className(item);
    if (name !== undefined) return name;
    throw new SyntaxError(
      `${place}: Expected the name of a label, found ${
        describeValue(item)
      } in ${describeLabels(value)}`,
    );
  });
}

function describeLabels(value: unknown): string {
  return typeof value === "string" ? quote(value) : "a list of labels";
}

/**
 * What separates the labels in a column of which nothing is known but its
 * values. Labels come again in other combinations, so that there are fewer of
 * them than values; where commas separate them, some also stand alone, unlike
 * parts of names or of numbers.
 *
 * @returns "auto" if all values are lists in JSON; undefined if they look like
 * classes
 */
export function likelySeparator(
  values: readonly unknown[],
): string | undefined {
  const cells = values.filter((it) => !isEmpty(it));
  const texts = cells.filter((it) => typeof it === "string");
  if (cells.length === 0 || texts.length < cells.length) return undefined;
  if (texts.every((it) => jsonList(it) !== undefined)) return "auto";
  const separator = separatorIn(texts);
  if (separator === undefined) return undefined;
  const lists = texts.map((text) =>
    text.split(separator).map((name) => name.trim())
  );
  const labels = new Set(lists.flat());
  const combinations = new Set(texts);
  if (labels.size < 2 || labels.size >= combinations.size) return undefined;
  if (separator !== ",") return separator;
  const together = new Set(lists.filter((it) => it.length > 1).flat());
  const standAlone = lists.some(([name, ...others]) =>
    others.length === 0 && together.has(name!)
  );
  const areNumbers = [...labels].every((it) => Number.isFinite(toNumber(it)));
  return standAlone && !areNumbers ? separator : undefined;
}

/** Number of columns of 0 and 1 from which on each may be a label. */
const MIN_MARKS = 3;

/**
 * Of columns, those of 0 and 1, or of booleans, which are one label each; none
 * if they are fewer than three.
 */
export function markColumns<
  T extends { readonly values: readonly unknown[] },
>(columns: readonly T[]): readonly T[] {
  const marks = columns.filter(({ values }) => {
    const marksSeen = new Set(
      values.map((it) => Number(it === true || toNumber(it) === 1)),
    );
    const areMarks = values.every((it) =>
      typeof it === "boolean" || toNumber(it) === 0 || toNumber(it) === 1
    );
    return areMarks && marksSeen.size === 2;
  });
  return marks.length < MIN_MARKS ? [] : marks;
}
