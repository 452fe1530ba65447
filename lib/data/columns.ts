import { quoteAll } from "./text_file.ts";

/** A row of a table. */
export interface Row {
  /** Location for messages: `reviews.csv:12` or `"reviews.parquet", row 11`. */
  readonly place: string;
  /**
   * Values of the requested columns, in their order; undefined if absent. None
   * of a broken row.
   */
  readonly values: readonly unknown[];
  /**
   * True if each item of its lists has a line of its own, the first at `place`.
   */
  readonly hasLines?: true;
}

/** How a file differs from what its name says. */
export interface TableForm {
  /** What messages call a `.parquet`; its path by default. */
  readonly title?: string | undefined;
  /** Encoding of text, as {@linkcode readText} takes it; UTF-8 by default. */
  readonly encoding?: string | undefined;
  /**
   * Columns that may have numbers with decimal commas, in a file separated by
   * semicolons; they are given with points.
   */
  readonly numbers?: readonly string[] | undefined;
  /** How to name another column, for the message that the table lacks one. */
  readonly remedy?: (column: string, header: readonly string[]) => string;
  /** Names of the columns of a file without a header. */
  readonly header?: readonly string[] | undefined;
  /**
   * Keeps lines with another number of fields, as broken rows, and empty ones;
   * otherwise the file is refused, and empty lines are skipped.
   */
  readonly broken?: boolean | undefined;
}

/** What is read of a table. */
export interface Columns extends TableForm {
  readonly required: readonly string[];
  readonly optional: readonly string[];
  /** Whether it is enough to know that the table has the columns. */
  readonly isCheck?: boolean;
  /** Called with the names of all columns. */
  readonly onNames?: (names: readonly string[]) => void;
}

/**
 * Positions of the columns of a table in its header, -1 for an absent optional
 * one.
 *
 * @throws {SyntaxError} If it lacks a required one, or has one twice.
 */
export function findColumns(
  { required, optional, onNames, remedy }: Columns,
  header: readonly string[],
  path: string,
): number[] {
  onNames?.(header);
  const lacking = required.find((column) => !header.includes(column));
  if (lacking !== undefined) {
    const names = quoteAll(header) || "none";
    const advice = remedy?.(lacking, header) ?? "";
    throw new SyntaxError(
      `"${path}" has no column "${lacking}"; it has ${names}${advice}`,
    );
  }
  return columnIndices([...required, ...optional], header, path);
}

/**
 * Positions of columns in a header; -1 for an absent one.
 *
 * @throws {SyntaxError} If the header has one of them twice.
 */
export function columnIndices(
  columns: readonly string[],
  header: readonly string[],
  path: string,
): number[] {
  // A search per column takes minutes where there are 200,000.
  const indices = Map.groupBy(header.keys(), (index) => header[index]!);
  return columns.map((column) => {
    const [index = -1, ...others] = indices.get(column) ?? [];
    if (others.length === 0) return index;
    const first = index + 1;
    const last = others.at(-1)! + 1;
    throw new SyntaxError(
      `"${path}" has the column "${column}" more than once, as columns ${first} and ${last}; rename all but one`,
    );
  });
}
