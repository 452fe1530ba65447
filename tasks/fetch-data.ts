import * as z from "zod";
import { GLUE_TASKS } from "../lib/benchmarks/glue.ts";
import type { Example } from "../lib/data/example.ts";
import { type Row, TABLE_FORMATS } from "../lib/data/table.ts";
import { isDataSource, parseDataSource } from "../lib/hub/data_source.ts";
import { expandHome } from "../lib/hub/model_source.ts";
import { HUB_ENV, hubCache, NETWORK_ENV } from "../lib/hub/settings.ts";
import { defineTask, type Stage } from "../lib/pipeline/task.ts";
import { areDistinct } from "../lib/artifacts/classes.ts";

const File = z.string().superRefine((file, context) => {
  if (isDataSource(file)) {
    try {
      parseDataSource(file);
    } catch (error) {
      context.addIssue((error as RangeError).message);
    }
  } else if (!TABLE_FORMATS.some((end) => file.toLowerCase().endsWith(end))) {
    context.addIssue(
      `Expected a file whose name ends in ${
        TABLE_FORMATS.join(", ")
      }, or a data set of the hub, "hub:OWNER/NAME"`,
    );
  }
});

const Params = z.strictObject({
  name: z.string().regex(/^[\w-]+$/).refine(
    (name) => !Object.hasOwn(GLUE_TASKS, name),
    "Expected a name that is not a GLUE task",
  ).default("data").describe("Name of the data in results and reports"),
  files: z.strictObject({
    train: File,
    validation: File.nullish(),
    test: File.nullish(),
  }).describe(
    "File of each split, or hub:OWNER/NAME[@REVISION][:CONFIG][/SPLIT] for parquet files of the hub; if train names no split, the validation and test splits of the same data set are used too; test may lack labels (no column, or all empty or -1)",
  ),
  text: z.string().default("text").describe("Column of the text"),
  pair: z.string().nullish().describe(
    "Column of the second text, for tasks on pairs",
  ),
  label: z.string().default("label").describe("Column of the label"),
  regression: z.boolean().default(false).describe(
    "True if the label is a number to predict, not a class",
  ),
  classes: z.array(z.string().trim().min(1)).min(2).refine(
    areDistinct,
    "Expected distinct names",
  ).nullish().describe(
    "Class names in the order of their ids; default: those that a parquet file records, otherwise the labels in the training file, sorted",
  ),
  holdout: z.number().gt(0).lt(1).nullish().describe(
    "Fraction of the training examples to draw at random as the validation split if there is no validation file; rounded up, but at least one example is left for training",
  ),
  seed: z.int().nonnegative().default(0).describe(
    "Seed of the draw of holdout",
  ),
}).refine(
  ({ regression, classes }) => !(regression && classes),
  "Expected no classes for a regression",
).refine(({ text, pair }) => pair !== text, {
  path: ["pair"],
  message: "Expected another column than that of the text",
}).refine(({ text, pair, label }) => label !== text && label !== pair, {
  path: ["label"],
  message: "Expected another column than those of the texts",
});

type FetchStage = Stage<z.output<typeof Params>>;

export default defineTask({
  description:
    "Read your own data from TSV, CSV, JSON Lines or Parquet files, or a data set of the hub",
  params: Params,
  inputs: {},
  output: { kind: "dataset", files: ["dataset.json"] },
  permissions: {
    net: true,
    env: [...HUB_ENV, ...NETWORK_ENV],
    write: () => [hubCache()],
  },
  sources: ({ files }) =>
    Object.fromEntries(
      Object.entries(files)
        .flatMap(([split, path]) =>
          path && !isDataSource(path)
            ? [[`files.${split}`, expandHome(path)]]
            : []
        ),
    ),
  small: true,
  async run(stage) {
    const { areLabelled, classesOf, toExamples } = await import(
      "../lib/data/labels.ts"
    );
    const { countQuoted, countShared, describeExamples, drawSubset } =
      await import(
        "../lib/data/example.ts"
      );
    const { usualMetrics } = await import("../lib/data/metrics.ts");
    const { writeDataset } = await import("../lib/artifacts/dataset.ts");
    const { params, output, log } = stage;
    const { label } = params;
    const texts = [params.text, ...params.pair ? [params.pair] : []];
    const files = await findFiles(stage);
    const read = (
      files: readonly SplitFile[],
      required: readonly string[],
      optional: readonly string[] = [],
    ) => readRows(files, required, optional, label, params.regression);
    const { rows, names } = await read(files.train!, [...texts, label]);
    const labels = params.regression
      ? null
      : [...params.classes ?? names ?? classesOf(rows)];
    const labelling = { labels, areRecorded: names !== undefined };
    const labelled = (split: string, rows: readonly Row[]) => {
      const all = toExamples(rows, labelling);
      const found = all.filter(({ label }) => label !== undefined);
      if (found.length === 0) {
        throw new SyntaxError(
          `The split "${split}" has no labels: all are -1 (last row: ${
            rows.at(-1)!.place
          })`,
        );
      }
      if (found.length < all.length) {
        log(
          `${split}: ${
            all.length - found.length
          } of ${all.length} examples have no label (-1) and are left out`,
        );
      }
      return found;
    };

    let train: readonly Example[] = labelled("train", rows);
    let validation: readonly Example[] = [];
    if (files.validation) {
      const { rows } = await read(files.validation, [...texts, label]);
      validation = labelled("validation", rows);
    } else if (params.holdout) {
      if (train.length === 1) {
        throw new RangeError(
          `"${params.files.train}" has a single example, too few for a holdout: add examples, or set "files.validation"`,
        );
      }
      const share = Math.ceil(train.length * params.holdout);
      const count = Math.min(share, train.length - 1);
      validation = await drawSubset(train, count, params.seed);
      const drawn = new Set(validation);
      train = train.filter((example) => !drawn.has(example));
    }
    let test: readonly Example[] = [];
    if (files.test) {
      const { rows: testRows } = await read(files.test, texts, [label]);
      test = areLabelled(testRows, labelling, rows)
        ? labelled("test", testRows)
        : toExamples(testRows, undefined);
    }
    const splits = Object.fromEntries(
      Object.entries({ train, validation, test })
        .filter(([, examples]) => examples.length > 0),
    );
    for (const [split, examples] of Object.entries(splits)) {
      log(`${split}: ${describeExamples(examples, labels)}`);
      const isTsv = files[split]?.some(({ path }) => /\.tsv$/i.test(path));
      const quoted = isTsv ? countQuoted(examples) : 0;
      if (quoted > 0) {
        log(
          `${split}: ${quoted} of ${examples.length} examples have a text in quotes, with doubled quotes in it; quotes are part of the text in a .tsv: if a CSV writer has added them, save the table as .csv`,
        );
      }
      const shared = split === "train" ? 0 : countShared(examples, train);
      if (shared > 0) {
        log(
          `${split}: ${shared} of ${examples.length} examples have the texts of an example of train, so scores may be too high; remove duplicates from your files`,
        );
      }
    }
    if (validation.length === 0) {
      log(
        'No validation split, on which stages evaluate by default: set "files.validation" or "holdout" to have one',
      );
    }
    await writeDataset(output, {
      task: params.name,
      labels,
      metrics: usualMetrics(labels),
      columns: texts,
    }, splits);
  },
});

/** A file of a split. */
interface SplitFile {
  readonly path: string;
  /** Its name in messages: the path of the user's file, or the data set of the hub and the path in it. */
  readonly title: string;
}

/**
 * Reads the rows of a split, and the names of its classes if the parquet files record them.
 *
 * @throws {SyntaxError} Naming the file, if it is invalid.
 */
async function readRows(
  files: readonly SplitFile[],
  required: readonly string[],
  optional: readonly string[],
  label: string,
  regression: boolean,
) {
  const { nameClasses } = await import("../lib/data/labels.ts");
  const { readTable, recordedClasses } = await import(
    "../lib/data/table.ts"
  );
  const tables = [];
  let names: readonly string[] | undefined;
  for (const { path, title } of files) {
    try {
      const rows = (await readTable(path, required, optional))
        .map((row) => ({ ...row, place: row.place.replace(path, title) }));
      const own = regression ? undefined : await recordedClasses(path, label);
      names ??= own;
      tables.push(own ? nameClasses(rows, own) : rows);
    } catch (error) {
      if (title === path || !(error instanceof SyntaxError)) throw error;
      throw new SyntaxError(error.message.replaceAll(path, title), {
        cause: error,
      });
    }
  }
  return { rows: tables.flat(), names };
}

/** Files by split: the user's own, and those of the hub, which are fetched. */
async function findFiles(
  { params: { files }, progress, log, signal }: FetchStage,
): Promise<Partial<Record<string, readonly SplitFile[]>>> {
  const found: Record<string, readonly SplitFile[]> = {};
  for (const [split, file] of Object.entries(files)) {
    if (!file) continue;
    if (!isDataSource(file)) {
      found[split] = [{ path: file, title: file }];
      continue;
    }
    const { openDataSet } = await import("../lib/hub/data_files.ts");
    const { hubSettings } = await import("../lib/hub/settings.ts");
    const source = parseDataSource(file);
    const data = await openDataSet({ split, ...source }, {
      settings: hubSettings(),
      log,
      onProgress: (bytes, total) =>
        progress(Math.round(bytes / 1e3), Math.round(total / 1e3), "kB"),
      signal,
    });
    log(data.title);
    const fetch = async (wanted: string) => {
      const paths = await data.fetch(wanted);
      return data.splits.get(wanted)!.map((path, i) => ({
        path: paths[i]!,
        title: `${source.name}/${path}`,
      }));
    };
    found[split] = await fetch(source.split ?? split);
    if (split !== "train" || source.split !== undefined) continue;
    for (const other of ["validation", "test"] as const) {
      if (files[other] || !data.splits.has(other)) continue;
      found[other] = await fetch(other);
    }
  }
  return found;
}
