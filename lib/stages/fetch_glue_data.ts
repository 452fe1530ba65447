import { join } from "@std/path/posix/join";
import { taskFields } from "../artifacts/classes.ts";
import { writeDataset } from "../artifacts/dataset.ts";
import { exists } from "../artifacts/json_file.ts";
import {
  GLUE_TASKS,
  type GlueTask,
  readSplit,
  taskFolder,
  wantedSplits,
} from "../benchmarks/glue.ts";
import { describeExamples, drawSubset, type Example } from "../data/example.ts";
import { quoteAll } from "../data/text_file.ts";
import { fetchFiles } from "../hub/fetch_files.ts";
import { expandHome } from "../hub/model_source.ts";
import { RemediedError } from "../hub/requests.ts";
import type { Stage } from "../pipeline/task.ts";
import { labelsOf } from "../problems/registry.ts";
import type { GlueData } from "./glue_data.ts";
import { hubOptions } from "./hub.ts";

type FetchStage = Stage<GlueData>;

/**
 * Fetches a task of GLUE from the hub or a folder and writes an artifact of
 * kind `dataset`.
 */
export async function fetchGlue(stage: FetchStage): Promise<void> {
  const { params, log, output } = stage;
  const task: GlueTask = GLUE_TASKS[params.task];
  const { describe } = labelsOf(task);
  const files = params.source === "hub"
    ? await hubFiles(stage, task)
    : folderFiles(stage, task);
  const limits: Readonly<Record<string, number>> = params.limit;
  const splits: Record<string, readonly Example[]> = {};
  for (const [split, file] of files) {
    const { examples: all, broken } = await readSplit(file, task, split);
    if (broken > 0) {
      log(
        `${split}: skipped ${broken} lines that are malformed in the original`,
      );
    }
    // The limit of one of MNLI's halves overrides that of both.
    const limit = limits[split] ?? limits[split.replace(/_.*/, "")] ??
      all.length;
    const drawn = await drawSubset(all, limit, params.seed);
    splits[split] = drawn;
    const of = drawn.length < all.length ? `; drawn from ${all.length}` : "";
    log(`${split}: ${describeExamples(drawn, describe)}${of}`);
  }
  await writeDataset(output, {
    ...taskFields({ ...task, task: params.task }),
    metrics: [...task.metrics],
    columns: [...task.columns],
  }, splits);
}

/** Paths of the TSV files by split. */
function folderFiles(
  { params, log }: FetchStage,
  task: GlueTask,
): ReadonlyMap<string, string> {
  const folder = taskFolder(expandHome(params.source), task);
  const files = new Map<string, string>();
  for (const split of wantedSplits(task, params.splits)) {
    const file = join(folder, task.tsvFiles[split]!);
    if (exists(file)) files.set(split, file);
    else if (params.splits) {
      throw new Error(
        `"${file}" does not exist, but "splits" requires the split "${split}"`,
      );
    } else log(`${split}: "${file}" does not exist`);
  }
  if (files.size > 0) return files;
  const names = quoteAll(Object.values(task.tsvFiles));
  throw new Error(
    `"${folder}" contains none of the files ${names}; set "source" to the folder of the unpacked GLUE archive`,
  );
}

/** Paths of the Parquet files of the hub by split. */
async function hubFiles(
  stage: FetchStage,
  task: GlueTask,
): Promise<ReadonlyMap<string, string>> {
  const { params, log } = stage;
  const splits = wantedSplits(task, params.splits);
  const pathOf = (split: string) =>
    `${params.task}/${split}-00000-of-00001.parquet`;
  const { files, title } = await fetchFiles({
    repository: { type: "dataset", name: "nyu-mll/glue" },
    revision: params.revision,
    required: splits.map(pathOf),
  }, hubOptions(stage)).catch((error) => {
    if (!(error instanceof RemediedError)) throw error;
    const { problem, remedy } = error;
    const folder =
      'Or take GLUE\'s TSV files: set "source" to their folder, in the pipelines of this project with -S data=FOLDER';
    throw new RemediedError(problem, `${remedy}\n${folder}`, { cause: error });
  });
  log(title);
  return new Map(splits.map((split) => [split, files.get(pathOf(split))!]));
}
