import { join } from "@std/path/posix/join";
import * as z from "zod";
import type { Example } from "../data/example.ts";
import { readLines } from "../data/text_file.ts";
import { problemOf } from "../problems/registry.ts";
import { SCORED_TASK_FIELDS } from "./classes.ts";
import { jsonFile } from "./json_file.ts";

/** `dataset.json` of an artifact of kind `dataset`; each split is stored beside it as `SPLIT.jsonl`. */
const DatasetInfo = z.strictObject({
  ...SCORED_TASK_FIELDS,
  /** Names of the one or two text columns. */
  columns: z.array(z.string()).min(1).max(2),
  /** Number of examples of each split. */
  splits: z.record(z.string().regex(/^[a-z_]+$/), z.int().positive()),
  /** What is wrong with the user's data, each a sentence with counts and rows. */
  faults: z.array(z.string()).min(1).exactOptional(),
});

export type DatasetInfo = z.output<typeof DatasetInfo>;

const infoFile = jsonFile("dataset.json", DatasetInfo);

/** Reads `dataset.json` of an artifact of kind `dataset`. */
export const readDatasetInfo = infoFile.read;

const ExampleLine = z.strictObject({
  index: z.int().nonnegative(),
  text: z.string(),
  pair: z.string().exactOptional(),
  label: z.number().exactOptional(),
  words: z.array(
    z.union([
      z.tuple([z.number(), z.number()]),
      z.tuple([z.number(), z.number(), z.number()]),
    ]),
  ).exactOptional(),
  completions: z.array(z.string()).min(1).exactOptional(),
  messages: z.array(z.looseObject({ role: z.string(), content: z.string() }))
    .min(1).exactOptional(),
});

/** Writes an artifact of kind `dataset`. */
export async function writeDataset(
  folder: string,
  info: Omit<DatasetInfo, "splits">,
  splits: Readonly<Record<string, readonly Example[]>>,
): Promise<void> {
  const counts: Record<string, number> = {};
  for (const [split, examples] of Object.entries(splits)) {
    const lines = examples.map(({ index, text, ...more }) =>
      JSON.stringify({ index, text, ...more }) + "\n"
    );
    await Deno.writeTextFile(join(folder, `${split}.jsonl`), lines.join(""));
    counts[split] = examples.length;
  }
  await infoFile.write(folder, { ...info, splits: counts });
}

/**
 * Reads a split of an artifact of kind `dataset`.
 *
 * @throws {SyntaxError} Naming file and line, if a line is not a valid example of this data set.
 */
export async function readExamples(
  folder: string,
  info: DatasetInfo,
  split: string,
): Promise<Example[]> {
  const path = join(folder, `${split}.jsonl`);
  const problem = problemOf(info);
  const examples: Example[] = [];
  for await (const text of readLines(path)) {
    const place = `${path}:${examples.length + 1}`;
    const result = ExampleLine.safeParse(JSON.parse(text));
    if (!result.success) {
      throw new SyntaxError(
        `${place}: Invalid example:\n${z.prettifyError(result.error)}`,
      );
    }
    const { pair, label, words = [[0, 0, label]] } = result.data;
    if ((pair !== undefined) !== (info.columns.length === 2)) {
      throw new SyntaxError(
        `${place}: Expected ${info.columns.length} texts, since "dataset.json" names ${info.columns.length} columns`,
      );
    }
    const wrong = words.find(([, , label]) =>
      label !== undefined && !problem.accepts(label)
    );
    if (wrong !== undefined) {
      throw new SyntaxError(
        `${place}: Label ${
          wrong[2]
        } is not one of the ${problem.classes.length} class ids of "dataset.json"`,
      );
    }
    examples.push(result.data);
  }
  if (examples.length !== info.splits[split]) {
    throw new SyntaxError(
      `"${path}" has ${examples.length} examples, but "dataset.json" has ${
        info.splits[split]
      }`,
    );
  }
  return examples;
}
