import { join } from "node:path";
import { z } from "zod";
import type { Example } from "../glue/example.ts";
import { readLines } from "../glue/text.ts";
import { readJsonFile, writeJsonFile } from "./json_file.ts";

/** `dataset.json` of an artifact of kind `dataset`; each split lies beside it as `SPLIT.jsonl`. */
const DatasetInfo = z.strictObject({
  /** Name of the GLUE task, or the user's own name for the data. */
  task: z.string().min(1),
  /** Class names in the order of their numbers; null if the task is a regression. */
  labels: z.array(z.string()).min(2).nullable(),
  /** Names of the one or two text columns. */
  columns: z.array(z.string()).min(1).max(2),
  /** Number of examples of each split. */
  splits: z.record(z.string().regex(/^[a-z_]+$/), z.int().positive()),
});

type DatasetInfo = z.output<typeof DatasetInfo>;

const ExampleLine = z.strictObject({
  index: z.int().nonnegative(),
  text: z.string(),
  pair: z.string().optional(),
  label: z.number().optional(),
});

/** Writes an artifact of kind `dataset`. */
export async function writeDataset(
  folder: string,
  info: Omit<DatasetInfo, "splits">,
  splits: Readonly<Record<string, readonly Example[]>>,
): Promise<void> {
  const counts: Record<string, number> = {};
  for (const [split, examples] of Object.entries(splits)) {
    const lines = examples.map(({ index, text, pair, label }) =>
      JSON.stringify({ index, text, pair, label }) + "\n"
    );
    await Deno.writeTextFile(join(folder, `${split}.jsonl`), lines.join(""));
    counts[split] = examples.length;
  }
  const { task, labels, columns } = info;
  await writeJsonFile(
    join(folder, "dataset.json"),
    DatasetInfo.parse({ task, labels, columns, splits: counts }),
  );
}

/** Reads what an artifact of kind `dataset` says of itself. */
export function readDatasetInfo(folder: string): Promise<DatasetInfo> {
  return readJsonFile(join(folder, "dataset.json"), DatasetInfo);
}

/**
 * Reads a split of an artifact of kind `dataset`.
 *
 * @throws {SyntaxError} Naming file and line, if a line is not an example of this data set.
 */
export async function readExamples(
  folder: string,
  info: DatasetInfo,
  split: string,
): Promise<Example[]> {
  const path = join(folder, `${split}.jsonl`);
  const examples: Example[] = [];
  for await (const text of readLines(path)) {
    const place = `${path}:${examples.length + 1}`;
    const result = ExampleLine.safeParse(parseLine(text, place));
    if (!result.success) {
      throw new SyntaxError(
        `${place}: Not an example:\n${z.prettifyError(result.error)}`,
      );
    }
    const { index, pair, label } = result.data;
    if ((pair !== undefined) !== (info.columns.length === 2)) {
      throw new SyntaxError(
        `${place}: Expected ${info.columns.length} texts, as "dataset.json" names columns`,
      );
    }
    if (label !== undefined && info.labels && !(label in info.labels)) {
      throw new SyntaxError(
        `${place}: Label ${label} is not the number of a class in "dataset.json"`,
      );
    }
    examples.push({
      index,
      text: result.data.text,
      ...(pair !== undefined && { pair }),
      ...(label !== undefined && { label }),
    });
  }
  if (examples.length !== info.splits[split]) {
    throw new SyntaxError(
      `"${path}" holds ${examples.length} examples, but "dataset.json" says ${
        info.splits[split]
      }`,
    );
  }
  return examples;
}

function parseLine(text: string, place: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(`${place}: ${(error as SyntaxError).message}`);
  }
}
