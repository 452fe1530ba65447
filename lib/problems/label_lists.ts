/** Columns in which a text has any number of labels. */
import { faultsOfLists } from "../data/faults.ts";
import { labelsIn, separatorIn } from "../data/label_cells.ts";
import {
  describeValue,
  isEmpty,
  MAX_CLASSES,
  toNumber,
} from "../data/labels.ts";
import type { Row } from "../data/columns.ts";
import { quote, quoteAll } from "../data/text_file.ts";
import { type LabelColumn, throwFaults, type Values } from "./problem.ts";

/**
 * Rows that end in a list of labels, of rows that end in a mark for each label:
 * 0, 1, true or false. Of a row without any marks, the list is undefined.
 *
 * @throws {SyntaxError} With the place of each mark that is another value
 */
export function markedLabels(
  rows: readonly Row[],
  labels: readonly string[],
): Row[] {
  const faults: string[] = [];
  const read = rows.map((row): Row => {
    const texts = row.values.slice(0, -labels.length);
    const marks = row.values.slice(-labels.length);
    if (marks.every(isEmpty)) return { ...row, values: [...texts, undefined] };
    const marked = labels.filter((label, i) => {
      const mark = marks[i];
      const isMarked = mark === true || toNumber(mark) === 1;
      if (!isMarked && mark !== false && toNumber(mark) !== 0) {
        faults.push(
          `${row.place}: Column "${label}" has ${
            describeValue(mark)
          }, expected 0 or 1`,
        );
      }
      return isMarked;
    });
    return { ...row, values: [...texts, marked] };
  });
  throwFaults(faults);
  return read;
}

/**
 * The labels of a row that {@linkcode labelListColumn} has read; undefined in a
 * test set without any.
 */
function listOf({ values }: Row): readonly string[] | undefined {
  return values.at(-1) as readonly string[] | undefined;
}

/** Lists of labels. */
export const labelListColumn: LabelColumn = {
  problem: "multi-label",
  reader({ separator: setting, classes, log, fault }) {
    let separator = setting === "auto" ? undefined : setting;
    let isFirst = true;
    return (rows, isLabelled) => {
      if (!isLabelled) {
        return rows.map((row) => ({
          ...row,
          values: row.values.with(-1, undefined),
        }));
      }
      if (isFirst && setting === "auto") {
        const values = rows.map(({ values }) => values.at(-1));
        separator = separatorIn(values, classes);
        if (separator !== undefined) {
          log(`Labels of a text are separated by ${quote(separator)}`);
        }
      }
      isFirst = false;
      const faults: string[] = [];
      const repeated: Row[] = [];
      const read = rows.map((row) => {
        let labels: string[] = [];
        try {
          labels = labelsIn(row.values.at(-1), row.place, separator);
        } catch (error) {
          if (!(error instanceof SyntaxError)) throw error;
          faults.push(error.message);
        }
        const distinct = [...new Set(labels)].sort();
        if (distinct.length < labels.length) repeated.push(row);
        return { ...row, values: row.values.with(-1, distinct) };
      });
      throwFaults(faults);
      const [first] = repeated;
      if (first !== undefined) {
        fault(
          `${repeated.length} of ${rows.length} rows name a label twice, which counts once (first ${first.place})`,
        );
      }
      return read;
    };
  },
  namesIn(rows) {
    const names = new Set(rows.flatMap((row) => listOf(row) ?? []));
    if (names.size >= 2 && names.size <= MAX_CLASSES) return [...names].sort();
    const last = rows.at(-1)?.place ?? "none";
    const example = [...names].slice(0, 3);
    const such = example.length > 0 ? `, such as ${quoteAll(example)}` : "";
    throw new SyntaxError(
      `Expected 2 to ${MAX_CLASSES} different labels, found ${names.size}${such}: check the column of the labels, and what separates them by -S separator= (last row: ${last})`,
    );
  },
  of(classes) {
    const numberOf = new Map(classes.map((name, i) => [name, i]));
    const width = classes.length;
    return {
      read(row) {
        const labels = listOf(row);
        if (labels === undefined) return {};
        const targets = Array<number>(width).fill(0);
        for (const name of labels) {
          const label = numberOf.get(name);
          if (label === undefined) {
            throw new SyntaxError(
              `${row.place}: Label ${quote(name)} is not one of the labels (${
                quoteAll(classes)
              })`,
            );
          }
          targets[label] = 1;
        }
        return { targets };
      },
      describe: (labels) => describe(classes, labels),
      faults: (rows, facts) =>
        faultsOfLists(
          rows.map((row) => ({ row, labels: listOf(row)! })),
          facts,
        ),
      strata: ({ targets = [] }) =>
        targets.flatMap((mark, label) => mark === 1 ? [label] : []),
      usualMetrics: () => [
        "micro_f1",
        "macro_f1",
        "weighted_f1",
        "subset_accuracy",
        "hamming_loss",
        "lrap",
      ],
    };
  },
};

/** Maximum number of labels whose counts a line shows. */
const MAX_COUNTS = 10;

function describe(classes: readonly string[], labels: Values): string {
  const width = classes.length;
  const texts = labels.length / width;
  const counts = Array<number>(width).fill(0);
  let without = 0;
  for (let text = 0; text < texts; text++) {
    let count = 0;
    for (let label = 0; label < width; label++) {
      const mark = labels[text * width + label]!;
      counts[label]! += mark;
      count += mark;
    }
    if (count === 0) without++;
  }
  const all = classes.map((name, i) => `${quote(name)} ${counts[i]}`);
  const least = counts.indexOf(Math.min(...counts));
  const most = counts.indexOf(Math.max(...counts));
  const shown = width <= MAX_COUNTS
    ? `: ${all.join(", ")}`
    : `, from ${all[least]} to ${all[most]}`;
  const total = counts.reduce((sum, count) => sum + count, 0);
  const mean = (total / texts).toFixed(2);
  return `${width} labels${shown}; ${mean} for a text, ${without} texts have none`;
}
