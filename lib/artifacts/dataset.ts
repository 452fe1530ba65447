import { join } from "@std/path/posix/join";
import * as z from "zod";
import { Example, labelsOf } from "../data/example.ts";
import { readLines } from "../data/text_file.ts";
import { problemOf } from "../problems/registry.ts";
import { SCORED_TASK_FIELDS } from "./classes.ts";
import { jsonFile } from "./json_file.ts";

/**
 * Split of a data set of texts that belong together with further texts, one in
 * each example, among which the answers of the other splits are searched.
 */
export const CORPUS = "corpus";

/**
 * `dataset.json` of an artifact of kind `dataset`; each split is stored beside
 * it as `SPLIT.jsonl`.
 */
const DatasetInfo = z.strictObject({
  ...SCORED_TASK_FIELDS,
  /** Names of the text columns. */
  columns: z.array(z.string()).min(1),
  /** Number of examples of each split. */
  splits: z.record(
    z.string().regex(/^[a-z_]+$/),
    z.int().positive("A split has no examples: leave it out"),
  ),
  /**
   * What is wrong with the user's data, each a sentence with counts and rows.
   */
  faults: z.array(z.string()).min(1).exactOptional(),
});

export type DatasetInfo = z.output<typeof DatasetInfo>;

const infoFile = jsonFile("dataset.json", DatasetInfo);

/** Reads `dataset.json` of an artifact of kind `dataset`. */
export const readDatasetInfo = infoFile.read;

/**
 * Writes an artifact of kind `dataset`.
 *
 * @throws {RangeError} If a split has no examples, or a label is none of the
 * problem.
 */
export async function writeDataset(
  folder: string,
  info: Omit<DatasetInfo, "splits">,
  splits: Readonly<Record<string, readonly Example[]>>,
): Promise<void> {
  const { accepts, classes, width } = problemOf(info);
  const counts: Record<string, number> = {};
  for (const [split, examples] of Object.entries(splits)) {
    if (examples.length === 0) {
      throw new RangeError(
        `The split "${split}" of "${info.task}" has no examples: leave it out, or read other data`,
      );
    }
    const odd = examples.find(({ targets = [] }) =>
      targets.length > 0 && targets.length !== width
    );
    if (odd !== undefined) {
      throw new RangeError(
        `Example ${odd.index} of the split "${split}" has ${
          odd.targets!.length
        } targets, expected ${width}`,
      );
    }
    const wrong = labelsOf(examples).find((label) => !accepts(label));
    if (wrong !== undefined) {
      throw new RangeError(
        `Label ${wrong} of the split "${split}" is not one of the ${classes.length} class ids`,
      );
    }
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
 * @throws {SyntaxError} Naming file and line, if a line is not a valid example
 * of this data set.
 */
export async function readExamples(
  folder: string,
  split: string,
): Promise<Example[]> {
  const info = await readDatasetInfo(folder);
  const { accepts, classes, width } = problemOf(info);
  const path = join(folder, `${split}.jsonl`);
  const examples: Example[] = [];
  for await (const text of readLines(path)) {
    const place = `${path}:${examples.length + 1}`;
    const { data, error } = Example.safeParse(JSON.parse(text));
    if (data === undefined) {
      throw new SyntaxError(
        `${place}: Invalid example:\n${z.prettifyError(error)}`,
      );
    }
    const texts = [data.text, data.pair, ...data.others ?? []]
      .filter((it) => it !== undefined);
    const columns = split === CORPUS ? 1 : info.columns.length;
    if (texts.length !== columns) {
      throw new SyntaxError(
        `${place}: Expected ${columns} texts, since "dataset.json" names ${info.columns.length} columns`,
      );
    }
    if (data.targets !== undefined && data.targets.length !== width) {
      throw new SyntaxError(
        `${place}: Expected ${width} targets, found ${data.targets.length}`,
      );
    }
    const wrong = labelsOf([data]).find((label) => !accepts(label));
    if (wrong !== undefined) {
      throw new SyntaxError(
        `${place}: Label ${wrong} is not one of the ${classes.length} class ids of "dataset.json"`,
      );
    }
    examples.push(data);
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
