/** Faults of a user's data with which a training runs, and scores less or too much: each a sentence with counts and rows. */
import { levenshteinDistance } from "@std/text/levenshtein-distance";
import { className, isEmpty, placesOf } from "./labels.ts";
import type { Row } from "./table.ts";
import { quote } from "./text_file.ts";

/** Number of rows below which a class is too small to be learnt and scored. */
const FEW_ROWS = 5;

/** Number of places, and of classes, that a sentence lists. */
const MAX_LISTED = 5;

/** What is known of a table and its labels. */
interface TableFacts {
  readonly areScores: boolean;
  /** Whether the user or the file names the classes, so that each is meant. */
  readonly areNamed: boolean;
  /** Whether the model learns from these rows. */
  readonly isTraining: boolean;
}

/**
 * The faults of a table, those that change the most first.
 *
 * @param rows Rows whose values are one or two texts, then a valid label.
 */
export function faultsOf(
  rows: readonly Row[],
  { areScores, areNamed, isTraining }: TableFacts,
): string[] {
  return [
    ...areScores || areNamed || !isTraining ? [] : similarClasses(rows),
    ...areScores ? [] : conflictingLabels(rows),
    ...repeatedRows(rows),
    ...emptyTexts(rows),
    ...areScores || !isTraining ? [] : smallClasses(rows),
  ];
}

/**
 * The rows whose texts are also those of a row of another split.
 *
 * @param other Name of the other split
 */
export function sharedTexts(
  rows: readonly Row[],
  others: readonly Row[],
  other: string,
): string[] {
  const known = new Set(others.map(textsOf));
  const shared = rows.filter((row) => known.has(textsOf(row)));
  const { length, places, have } = wordsFor(shared);
  return length === 0 ? [] : [
    `${length} of ${
      rowCount(rows)
    } ${have} the texts of a row of ${other} (${places}), so scores may be too high: remove duplicates from your files`,
  ];
}

/** What a sentence says of the rows that have a fault. */
function wordsFor(rows: readonly Row[]) {
  const { length } = rows;
  const have = length === 1 ? "has" : "have";
  return { length, places: placesOf(rows, MAX_LISTED), have };
}

/** The rows with a text as a writer of CSV files quotes it: in quotes, with those within doubled. */
export function quotedTexts(rows: readonly Row[]): string[] {
  const isQuoted = (text: unknown) => {
    const [, inner = ""] = /^"([^]*)"$/.exec(String(text)) ?? [];
    return inner.includes('""') && !inner.replaceAll('""', "").includes('"');
  };
  const quoted = rows.filter(({ values }) =>
    values.slice(0, -1).some(isQuoted)
  );
  const { length, places, have } = wordsFor(quoted);
  return length === 0 ? [] : [
    `${length} of ${
      rowCount(rows)
    } ${have} a text in quotes, with doubled quotes in it (${places}); quotes are part of the text in a .tsv: if a CSV writer has added them, save the table as .csv`,
  ];
}

/**
 * Classes that are probably one: names that differ in case, spaces and
 * punctuation only, and long ones of which the rarer one differs by a letter or
 * two.
 */
function similarClasses(rows: readonly Row[]): string[] {
  const classes = classesBySize(rows);
  const found = classes.flatMap(([name, rare], i) => {
    const similar = classes.slice(0, i).find(([other, { length }]) =>
      areAlike(name, other) ||
      rare.length * RARE <= length && areClose(name, other)
    );
    if (similar === undefined) return [];
    const [other, { place }] = [similar[0], rare[0]!];
    const [few, many] = [rare, similar[1]].map(rowCount);
    return `the class ${quote(name)} (${few}, first ${place}) may be ${
      quote(other)
    } (${many}) with a typing error: if so, correct it`;
  });
  const more = found.length - MAX_LISTED;
  return more <= 0 ? found : [
    ...found.slice(0, MAX_LISTED),
    `${more} more classes may be another with a typing error`,
  ];
}

/** Factor by which a class is rarer than one of which it may be a typing error. */
const RARE = 10;

function areAlike(a: string, b: string): boolean {
  const letters = (name: string) =>
    name.normalize("NFKC").toLowerCase().replaceAll(/[\s\p{Pd}_.]+/gu, "");
  return letters(a) !== "" && letters(a) === letters(b);
}

/** Whether two names are long and differ by at most two letters, but not in their digits. */
function areClose(a: string, b: string): boolean {
  const length = Math.min(a.length, b.length);
  const [digitsA, digitsB] = [a, b].map((it) => it.replaceAll(/\D/g, ""));
  return length > 4 && Math.abs(a.length - b.length) <= 2 &&
    digitsA === digitsB &&
    levenshteinDistance(a.toLowerCase(), b.toLowerCase()) <=
      (length < 8 ? 1 : 2);
}

/** Texts that have several labels. */
function conflictingLabels(rows: readonly Row[]): string[] {
  const found = [...Map.groupBy(rows, textsOf).values()]
    .map((rows) => [...Map.groupBy(rows, classOf)])
    .filter(({ length }) => length > 1);
  if (found.length === 0) return [];
  const labels = found[0]!
    .map(([name, [row]]) => `${quote(name)} (${row!.place})`).join(" and ");
  const texts = found.length === 1
    ? "1 text has"
    : `${found.length} texts have`;
  const first = quote(String(found[0]![0]![1][0]!.values[0]));
  return [`${texts} several labels, first ${first}: ${labels}`];
}

/** Rows that have the texts and the label of an earlier one. */
export function repeatedRows(rows: readonly Row[]): string[] {
  const repeated = [
    ...Map.groupBy(
      rows,
      (row) => JSON.stringify([textsOf(row), classOf(row)]),
    ).values(),
  ].flatMap(([_first, ...others]) => others);
  const { length, places } = wordsFor(repeated);
  const [repeat, count, them] = length === 1
    ? ["repeats", "counts", "it"]
    : ["repeat", "count", "them"];
  return length === 0 ? [] : [
    `${length} of ${
      rowCount(rows)
    } ${repeat} an earlier row (${places}) and ${count} again: remove ${them}`,
  ];
}

function emptyTexts(rows: readonly Row[]): string[] {
  const empty = rows.filter(({ values }) => values.slice(0, -1).some(isEmpty));
  const { length, places, have } = wordsFor(empty);
  return length === 0
    ? []
    : [`${length} of ${rowCount(rows)} ${have} an empty text (${places})`];
}

function smallClasses(rows: readonly Row[]): string[] {
  const small = classesBySize(rows)
    .filter(([, { length }]) => length < FEW_ROWS);
  if (small.length === 0) return [];
  const names = small.slice(0, MAX_LISTED).map(([name, rows]) =>
    `${quote(name)} (${rowCount(rows)}, first ${rows[0]!.place})`
  ).join(", ");
  const classes = small.length === 1
    ? "1 class has"
    : `${small.length} classes have`;
  const rest = small.length - MAX_LISTED;
  const more = rest > 0 ? ` and ${rest} more` : "";
  return [
    `${classes} fewer than ${FEW_ROWS} rows, too few to learn and to score: ${names}${more}`,
  ];
}

/** Rows by class, largest first. */
function classesBySize(rows: readonly Row[]) {
  return [...Map.groupBy(rows, classOf)]
    .sort(([, a], [, b]) => b.length - a.length);
}

function classOf({ values }: Row): string {
  return className(values.at(-1))!;
}

/** The texts of a row, as a key. */
function textsOf({ values }: Row): string {
  return JSON.stringify(values.slice(0, -1));
}

/** `1 row`, `2 rows` */
export function rowCount({ length }: readonly Row[]): string {
  return `${length} row${length === 1 ? "" : "s"}`;
}
