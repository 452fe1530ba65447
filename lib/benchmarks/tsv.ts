import { type GlueTask, isTestSplit } from "./glue.ts";
import type { Example } from "../data/example.ts";
import { lengthFault, quote, quoteAll, readLines } from "../data/text_file.ts";

/** Content of a TSV file of GLUE. */
interface TsvSplit {
  readonly examples: readonly Example[];
  /** Number of lines skipped because they are broken in two. */
  readonly broken: number;
}

/**
 * Reads a TSV file as GLUE publishes it.
 *
 * These files have no quoting: a quote is a plain character, and fields are
 * separated by tabs. Columns are found by name.
 *
 * @throws {SyntaxError} With `file:line`, if the file is not valid for this task.
 */
export async function readTsv(
  path: string,
  task: GlueTask,
  split: string,
): Promise<TsvSplit> {
  const test = isTestSplit(split);
  let row = test || !task.tsvHeader ? undefined : rowReader(task.tsvHeader);
  const examples: Example[] = [];
  let broken = 0;
  let line = 0;
  let index = 0;
  for await (const text of readLines(path)) {
    line++;
    const fields = text.split("\t");
    try {
      if (row === undefined) row = rowReader(fields);
      else {
        const example = row(fields, index++);
        if (example) examples.push(example);
        else broken++;
      }
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw new SyntaxError(`${path}:${line}: ${error.message}`);
    }
  }
  if (examples.length === 0) {
    throw new SyntaxError(`"${path}" has no examples of ${task.title}`);
  }
  return { examples, broken };

  /** Returns a function that reads a row; it returns undefined for a broken one. */
  function rowReader(header: readonly string[]) {
    const [textColumn, pairColumn] = task.tsvColumns;
    const textAt = find(textColumn);
    const pairAt = pairColumn === undefined ? undefined : find(pairColumn);
    const labelAt = test ? undefined : find(task.tsvLabel);
    // Submissions number the examples of a test set by its first column.
    const numbered = test && ["index", "id"].includes(header[0]!);

    return (row: readonly string[], place: number): Example | undefined => {
      if (row.length !== header.length) {
        if (task.tsvBroken) return undefined;
        throw new SyntaxError(
          `Expected ${header.length} columns separated by tabs, found ${row.length}`,
        );
      }
      for (const at of [textAt, pairAt ?? textAt]) {
        const fault = lengthFault(row[at]!);
        if (fault !== undefined) throw new SyntaxError(fault);
      }
      return {
        index: numbered ? readIndex(row[0]!) : place,
        text: row[textAt]!,
        ...(pairAt !== undefined && { pair: row[pairAt]! }),
        ...(labelAt !== undefined && { label: readLabel(row[labelAt]!, task) }),
      };
    };

    function find(column: string): number {
      const at = header.indexOf(column);
      if (at >= 0) return at;
      throw new SyntaxError(
        `No column "${column}" in the header ${
          quote(header.join(" "))
        }; expected a ${task.title} file as GLUE publishes it`,
      );
    }
  }
}

function readIndex(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new SyntaxError(`Index ${quote(text)} is not a non-negative integer`);
}

function readLabel(text: string, task: GlueTask): number {
  if (task.labels === null) {
    const score = Number(text);
    if (text.trim() !== "" && score >= 0 && score <= 5) return score;
    throw new SyntaxError(`Score ${quote(text)} is not a number from 0 to 5`);
  }
  const names = task.tsvClass === "name"
    ? task.labels
    : task.labels.map((_, number) => String(number));
  const label = names.indexOf(text);
  if (label >= 0) return label;
  throw new SyntaxError(
    `Label ${quote(text)} is not one of ${quoteAll(names)}`,
  );
}
