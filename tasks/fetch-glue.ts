import { basename } from "@std/path/posix/basename";
import { join } from "@std/path/posix/join";
import * as z from "zod";
import { exists } from "../lib/artifacts/json_file.ts";
import {
  GLUE_TASKS,
  type GlueTask,
  type GlueTaskName,
  readSplit,
  type SplitName,
  SPLITS,
  splitsNamed,
} from "../lib/benchmarks/glue.ts";
import type { Example } from "../lib/data/example.ts";
import { quoteAll } from "../lib/data/text_file.ts";
import { expandHome } from "../lib/hub/model_source.ts";
import { HUB_ENV, hubCache, NETWORK_ENV } from "../lib/hub/settings.ts";
import { defineTask, type Stage } from "../lib/pipeline/task.ts";

const Split = z.enum(SPLITS);

const Params = z.strictObject({
  task: z.enum(Object.keys(GLUE_TASKS) as [GlueTaskName]).describe(
    "GLUE task, by its name on the hub",
  ),
  source: z.string().min(1).default("hub").describe(
    '"hub", or a folder with the TSV files of GLUE (MRPC/train.tsv and so on)',
  ),
  revision: z.string().regex(/^[\w-][\w.-]*$/).default("main").describe(
    "Branch, tag or commit of the data set on the hub; a branch stays at the commit that was fetched first",
  ),
  splits: z.array(Split).min(1).optional().describe(
    'Required splits ("validation" means both of MNLI); default: those that the source has',
  ),
  limit: z.partialRecord(Split, z.int().positive()).default({}).describe(
    "Maximum number of examples per split, drawn at random",
  ),
  seed: z.int().nonnegative().default(0).describe(
    "Seed of the draw of limit",
  ),
}).superRefine(({ task, splits, limit }, context) => {
  const { title, tsvFiles } = GLUE_TASKS[task];
  const refuse = (path: PropertyKey[], message: string) =>
    context.addIssue({ code: "custom", path, message });
  const ofTask = `a split of ${title} (${quoteAll(Object.keys(tsvFiles))})`;
  splits?.forEach((name, i) => {
    if (splitsNamed(GLUE_TASKS[task], name).length === 0) {
      refuse(["splits", i], `Expected ${ofTask}`);
    }
  });
  const wanted = wantedSplits(task, splits);
  for (const name of Object.keys(limit)) {
    const named = splitsNamed(GLUE_TASKS[task], Split.parse(name));
    if (named.length === 0) {
      refuse(["limit", name], `Expected a limit for ${ofTask}`);
    } else if (!named.some((split) => wanted.includes(split))) {
      refuse(
        ["limit", name],
        `Expected a limit for a split in "splits" (${
          quoteAll(wanted) || "none"
        })`,
      );
    }
  }
});

type FetchStage = Stage<z.output<typeof Params>>;

export default defineTask({
  description: "Fetch a GLUE task from the hub or from a folder of TSV files",
  params: Params,
  inputs: {},
  output: { kind: "dataset", files: ["dataset.json"] },
  permissions: {
    net: true,
    env: [...HUB_ENV, ...NETWORK_ENV],
    write: () => [hubCache()],
  },
  sources({ source, task }): Record<string, string> {
    return source === "hub" ? {} : { source: taskFolder(source, task) };
  },
  async run(stage) {
    const { describeExamples, drawSubset } = await import(
      "../lib/data/example.ts"
    );
    const { writeDataset } = await import("../lib/artifacts/dataset.ts");
    const { params, log, output } = stage;
    const task: GlueTask = GLUE_TASKS[params.task];
    const files = params.source === "hub"
      ? await hubFiles(stage)
      : folderFiles(stage);
    const limits = new Map(
      // A longer name is of a single split and overrides one for several.
      Object.entries(params.limit).toSorted(([a], [b]) => a.length - b.length)
        .flatMap(([name, limit]) =>
          splitsNamed(task, Split.parse(name)).map((split) => [split, limit])
        ),
    );
    const splits: Record<string, readonly Example[]> = {};
    for (const [split, file] of files) {
      const { examples: all, broken } = await readSplit(file, task, split);
      if (broken > 0) {
        log(
          `${split}: skipped ${broken} lines that are malformed in the original`,
        );
      }
      const limit = limits.get(split) ?? all.length;
      const drawn = await drawSubset(all, limit, params.seed);
      splits[split] = drawn;
      log(
        `${split}: ${describeExamples(drawn, task.labels)}${
          drawn.length < all.length ? `; drawn from ${all.length}` : ""
        }`,
      );
    }
    await writeDataset(output, {
      task: params.task,
      labels: task.labels && [...task.labels],
      metrics: [...task.metrics],
      columns: [...task.columns],
    }, splits);
  },
});

/** The requested splits, or all of the task. */
function wantedSplits(
  task: GlueTaskName,
  requested: readonly SplitName[] | undefined,
): string[] {
  const splits = requested?.flatMap((name) =>
    splitsNamed(GLUE_TASKS[task], name)
  );
  return [...new Set(splits ?? Object.keys(GLUE_TASKS[task].tsvFiles))];
}

/** Folder of the task's files, given GLUE's folder or that folder itself. */
function taskFolder(source: string, name: GlueTaskName): string {
  const task: GlueTask = GLUE_TASKS[name];
  const own = task.tsvFolder ?? task.title;
  const folder = expandHome(source);
  return basename(folder) === own ? folder : join(folder, own);
}

/** Paths of the TSV files by split. */
function folderFiles({ params, log }: FetchStage): ReadonlyMap<string, string> {
  const { tsvFiles }: GlueTask = GLUE_TASKS[params.task];
  const folder = taskFolder(params.source, params.task);
  const files = new Map<string, string>();
  for (const split of wantedSplits(params.task, params.splits)) {
    const file = join(folder, tsvFiles[split]!);
    if (exists(file)) files.set(split, file);
    else if (params.splits) {
      throw new Error(
        `"${file}" does not exist, but "splits" requires the split "${split}"`,
      );
    } else log(`${split}: "${file}" does not exist`);
  }
  if (files.size > 0) return files;
  throw new Error(
    `"${folder}" contains none of the files ${
      quoteAll(Object.values(tsvFiles))
    }; set "source" to the folder of the unpacked GLUE archive`,
  );
}

/** Paths of the Parquet files of the hub by split. */
async function hubFiles(
  { params, progress, log, signal }: FetchStage,
): Promise<ReadonlyMap<string, string>> {
  const { fetchFiles } = await import("../lib/hub/fetch_files.ts");
  const { HubError } = await import("../lib/hub/requests.ts");
  const { hubSettings } = await import("../lib/hub/settings.ts");
  const splits = wantedSplits(params.task, params.splits);
  const paths = splits.map((split) =>
    `${params.task}/${split}-00000-of-00001.parquet`
  );
  const { files, title } = await fetchFiles({
    repository: { type: "dataset", name: "nyu-mll/glue" },
    revision: params.revision,
    required: paths,
  }, {
    settings: hubSettings(),
    log,
    onProgress: (bytes, total) =>
      progress(Math.round(bytes / 1e3), Math.round(total / 1e3), "kB"),
    signal,
  }).catch((error) => {
    if (!(error instanceof HubError)) throw error;
    const { code, problem, remedy } = error;
    const folder =
      'Or take GLUE\'s TSV files: set "source" to their folder, in the pipelines of this project with -S data=FOLDER';
    throw new HubError(code, problem, `${remedy}\n${folder}`, { cause: error });
  });
  log(title);
  return new Map(splits.map((split, i) => [split, files.get(paths[i]!)!]));
}
