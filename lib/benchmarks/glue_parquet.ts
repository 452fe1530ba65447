import { parquetMetadata } from "hyparquet";
import type { Example } from "../data/example.ts";
import { readColumns } from "../data/parquet.ts";
import { lengthFault } from "../data/text_file.ts";
import { type GlueTask, isTestSplit } from "./glue.ts";

/**
 * Reads a parquet file of the data set `nyu-mll/glue`.
 *
 * Its columns are the task's texts, `label` (a class number or a score; -1 if
 * it is not published) and `idx`.
 *
 * @throws {SyntaxError} With file and row, if the file is not valid for this task.
 */
export async function readParquet(
  path: string,
  task: GlueTask,
  split: string,
): Promise<Example[]> {
  const bytes = await Deno.readFile(path);
  const columns = [...task.columns, "label", "idx"];
  let rows: Record<string, unknown>[];
  try {
    rows = await readColumns(
      bytes.buffer,
      parquetMetadata(bytes.buffer),
      columns,
    );
  } catch (error) {
    throw new SyntaxError(
      `Cannot read "${path}" as parquet with the columns ${
        columns.join(", ")
      }: ${error instanceof Error ? error.message : error}`,
      { cause: error },
    );
  }
  return rows.map((row, place) => {
    const fault = (column: string) =>
      new SyntaxError(
        `"${path}", row ${place + 1}: Column "${column}" has the value ${
          String(row[column])
        }, which is invalid for ${task.title}`,
      );
    const [text, pair] = task.columns.map((column) => {
      const value = row[column];
      if (typeof value !== "string") throw fault(column);
      const tooLong = lengthFault(value);
      if (tooLong === undefined) return value;
      throw new SyntaxError(`"${path}", row ${place + 1}: ${tooLong}`);
    });
    const index = Number(row.idx);
    if (!Number.isSafeInteger(index) || index < 0) throw fault("idx");
    const label = Number(row.label);
    if (!isTestSplit(split) && !isLabel(label, task)) throw fault("label");
    return {
      index,
      text: text!,
      ...(pair !== undefined && { pair }),
      ...(!isTestSplit(split) && { label }),
    };
  });
}

function isLabel(value: number, task: GlueTask): boolean {
  return task.labels === null
    ? value >= 0 && value <= 5
    : Number.isInteger(value) && value >= 0 && value < task.labels.length;
}
