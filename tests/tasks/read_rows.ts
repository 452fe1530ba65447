import { join } from "node:path";
import { readDatasetInfo, readExamples } from "../../lib/artifacts/dataset.ts";
import fetchData from "../../tasks/fetch-data.ts";
import { runTask } from "./run_task.ts";

/** Settings of fetch-data, which need not be valid. */
export type Settings = Readonly<Record<string, unknown>>;

/**
 * Writes a training file, and reads it by fetch-data; gives the artifact, what
 * it says of the rows, what was logged, and the training examples.
 */
export async function readRows(
  folder: string,
  name: string,
  text: string,
  settings: Settings = {},
) {
  const path = join(folder, name);
  await Deno.writeTextFile(path, text);
  const params = { files: { train: path }, ...settings };
  const { output, log } = await runTask(fetchData, folder, params);
  const info = await readDatasetInfo(output);
  return { output, info, log, examples: await readExamples(output, "train") };
}
