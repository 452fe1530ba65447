/**
 * Faults of a user's data with which a training runs, and scores less or too
 * much: each a sentence with counts and rows.
 */
import { levenshteinDistance } from "@std/text/levenshtein-distance";
import { className, isEmpty, placesOf } from "./labels.ts";
import type { Row } from "./columns.ts";
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
 * The faults of a table whose rows have any number of labels, those that change
 * the most first.
 *
 * @param rows Rows whose last value stands for their labels
 */
export function faultsOfLists(
  rows: readonly { readonly row: Row; readonly labels: readonly string[] }[],
  { areNamed, isTraining }: Omit<TableFacts, "areScores">,
): string[] {
  const withLast = (row: Row, value: string): Row => ({
    ...row,
    values: row.values.with(-1, value),
  });
  const bySet = rows.map(({ row, labels }) =>
    withLast(row, labels.length === 0 ? "no label" : labels.join(", "))
  );
  const byLabel = rows.flatMap(({ row, labels }) =>
    labels.map((label) => withLast(row, label))
  );
  const together = rows.filter(({ labels }) => labels.length > 1).length;
  return [
    ...areNamed || !isTraining ? [] : similarClasses(byLabel),
    ...isTraining && together === 0
      ? [
        "no text has more than one label: if each has exactly one, they are classes, which a model learns better as such",
      ]
      : [],
    ...conflictingLabels(bySet, "different labels"),
    ...repeatedRows(bySet),
    ...emptyTexts(bySet),
    ...isTraining ? smallClasses(byLabel, "labels") : [],
  ];
}

/**
 * The faults of a table of texts that belong together, those that change the
 * most first.
 *
 * @param rows Rows whose values are a text, one that is near it, and others
 * that are not
 */
export function faultsOfTexts(rows: readonly Row[]): string[] {
  const near = new Map<unknown, Set<unknown>>();
  for (const { values: [text, other] } of rows) {
    near.getOrInsertComputed(text, () => new Set()).add(other);
  }
  const contradicting = rows.filter(({ values: [text, , ...others] }) =>
    others.some((it) => near.get(text)!.has(it))
  );
  const equal = rows.filter(({ values: [text, other] }) => text === other);
  return [
    ...counted(
      contradicting,
      rows,
      "with a negative that is also near the same text",
      ": it counts as near; correct the rows",
    ),
    ...repeatedRows(rows),
    ...counted(
      equal,
      rows,
      "whose first two texts are equal",
      ", of which nothing is learnt",
    ),
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
  const otherTexts = new Set(others.map(textsOf));
  const shared = rows.filter((row) => otherTexts.has(textsOf(row)));
  return counted(
    shared,
    rows,
    `with the texts of a row of ${other}`,
    ", so scores may be too high: remove duplicates from your files",
  );
}

/** How many rows have a fault, and where; nothing if none has. */
function counted(
  faulty: readonly Row[],
  { length }: readonly Row[],
  what: string,
  advice = "",
): string[] {
  const places = placesOf(faulty, MAX_LISTED);
  return faulty.length === 0
    ? []
    : [`${faulty.length} of ${length} rows ${what} (${places})${advice}`];
}

/**
 * The rows with a text as a writer of CSV files quotes it: in quotes, with
 * those within doubled.
 */
export function quotedTexts(rows: readonly Row[]): string[] {
  const isQuoted = (text: unknown) => {
    const [, inner = ""] = /^"([^]*)"$/.exec(String(text)) ?? [];
    return inner.includes('""') && !inner.replaceAll('""', "").includes('"');
  };
  const quoted = rows.filter(({ values }) =>
    values.slice(0, -1).some(isQuoted)
  );
  return counted(
    quoted,
    rows,
    "with a text in quotes that has doubled quotes in it",
    "; quotes are part of the text in a .tsv: if a CSV writer has added them, save the table as .csv",
  );
}

/**
 * Classes that are probably one: names that differ in case, spaces and
 * punctuation only, and long ones of which the rarer one differs by a letter or
 * two.
 */
function similarClasses(rows: readonly Row[]): string[] {
  const classes = classesBySize(rows);
  const sentences = classes.flatMap(([name, rare], i) => {
    const similar = classes.slice(0, i).find(([other, { length }]) =>
      areAlike(name, other) ||
      rare.length * RARE <= length && areClose(name, other)
    );
    if (similar === undefined) return [];
    const [other, frequent] = similar;
    const rows = `rows: ${rare.length}, first ${rare[0]!.place}`;
    return `the class ${quote(name)} (${rows}) may be ${
      quote(other)
    } (rows: ${frequent.length}) with a typing error: if so, correct it`;
  });
  const more = sentences.length - MAX_LISTED;
  return more <= 0 ? sentences : [
    ...sentences.slice(0, MAX_LISTED),
    `${more} more classes may be another with a typing error`,
  ];
}

/**
 * Factor by which a class is rarer than one of which it may be a typing error.
 */
const RARE = 10;

function areAlike(a: string, b: string): boolean {
  const letters = (name: string) =>
    name.normalize("NFKC").toLowerCase().replaceAll(/[\s\p{Pd}_.]+/gu, "");
  return letters(a) !== "" && letters(a) === letters(b);
}

/**
 * Whether two names are long and differ by at most two letters, but not in
 * their digits.
 */
function areClose(a: string, b: string): boolean {
  const length = Math.min(a.length, b.length);
  const digitsOf = (name: string) => name.replaceAll(/\D/g, "");
  return length > 4 && Math.abs(a.length - b.length) <= 2 &&
    digitsOf(a) === digitsOf(b) &&
    levenshteinDistance(a.toLowerCase(), b.toLowerCase()) <=
      (length < 8 ? 1 : 2);
}

/** Texts that have several labels, each in a row of its own. */
function conflictingLabels(
  rows: readonly Row[],
  what = "several labels",
): string[] {
  const conflicts = [...Map.groupBy(rows, textsOf).values()]
    .map((rows) => [...Map.groupBy(rows, classOf)])
    .filter(({ length }) => length > 1);
  if (conflicts.length === 0) return [];
  const labels = conflicts[0]!
    .map(([name, [row]]) => `${quote(name)} (${row!.place})`).join(" and ");
  const first = quote(String(conflicts[0]![0]![1][0]!.values[0]));
  return [
    `texts with ${what}: ${conflicts.length}, first ${first}: ${labels}`,
  ];
}

/** Rows that have the texts and the label of an earlier one. */
export function repeatedRows(rows: readonly Row[]): string[] {
  const firsts = new Set(withoutRepeated(rows));
  return counted(
    rows.filter((row) => !firsts.has(row)),
    rows,
    "that repeat an earlier one and count again",
    ": remove them, or leave them out by -S repeated=drop",
  );
}

/**
 * Rows without those that repeat an earlier one: its texts, and its label but
 * for whitespace around it.
 */
export function withoutRepeated(rows: readonly Row[]): readonly Row[] {
  const firsts = new Map<string, Row>();
  for (const row of rows) {
    const label = row.values.at(-1);
    const key = JSON.stringify(
      [textsOf(row), className(label) ?? label],
      (_key, value) => typeof value === "bigint" ? String(value) : value,
    );
    if (!firsts.has(key)) firsts.set(key, row);
  }
  return [...firsts.values()];
}

function emptyTexts(rows: readonly Row[]): string[] {
  const empty = rows.filter(({ values }) => values.slice(0, -1).some(isEmpty));
  return counted(empty, rows, "with an empty text");
}

function smallClasses(rows: readonly Row[], what = "classes"): string[] {
  const small = classesBySize(rows)
    .filter(([, { length }]) => length < FEW_ROWS);
  if (small.length === 0) return [];
  const names = small.slice(0, MAX_LISTED).map(([name, rows]) =>
    `${quote(name)} (rows: ${rows.length}, first ${rows[0]!.place})`
  ).join(", ");
  return [
    `${what} with fewer than ${FEW_ROWS} rows (${small.length}), too few to learn and to score: ${names}`,
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
