import { z } from "zod";
import { GLUE_TASKS } from "../lib/glue/benchmark.ts";
import type { Example } from "../lib/glue/example.ts";
import type { Labelling } from "../lib/glue/own_data.ts";
import { TABLE_FORMATS } from "../lib/glue/own_data.ts";
import { expandHome } from "../lib/hub/model_source.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { areDistinct } from "../lib/artifacts/classes.ts";

const File = z.string().refine(
  (path) => TABLE_FORMATS.some((end) => path.toLowerCase().endsWith(end)),
  `Expected a file whose name ends in ${TABLE_FORMATS.join(", ")}`,
);

export default defineTask({
  description: "Read your own data from TSV, CSV, JSON Lines or Parquet files",
  params: z.strictObject({
    name: z.string().regex(/^[\w-]+$/).refine(
      (name) => !Object.hasOwn(GLUE_TASKS, name),
      "Expected a name that is not a GLUE task",
    ).default("data").describe("Name of the data in results and reports"),
    files: z.strictObject({
      train: File,
      validation: File.nullish(),
      test: File.nullish(),
    }).describe(
      "File of each split; the labels of test may be missing: no column, or all empty or -1",
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
      "Class names in the order of their ids; default: those in the training file, sorted",
    ),
    holdout: z.number().gt(0).lt(1).nullish().describe(
      "Fraction of the training file to draw at random as the validation split if there is no validation file; rounded up, but at least one example is left for training",
    ),
    seed: z.int().nonnegative().default(0).describe(
      "Seed of the draw of holdout",
    ),
  }).refine(
    ({ regression, classes }) => !(regression && classes),
    "Expected no classes for a regression",
  ),
  inputs: {},
  output: { kind: "dataset", files: ["dataset.json"] },
  sources: ({ files }) =>
    Object.fromEntries(
      Object.entries(files)
        .flatMap(([split, path]) =>
          path ? [[`files.${split}`, expandHome(path)]] : []
        ),
    ),
  small: true,
  async run({ params, output, log }) {
    const { areLabelled, classesOf, toExamples } = await import(
      "../lib/glue/own_data.ts"
    );
    const { drawSubset } = await import("../lib/glue/example.ts");
    const { readTable } = await import("../lib/glue/own_data.ts");
    const { writeDataset } = await import("../lib/artifacts/dataset.ts");
    const { files, label } = params;
    const texts = [params.text, ...params.pair ? [params.pair] : []];
    const rows = await readTable(files.train, [...texts, label]);
    const labelling: Labelling = params.regression
      ? { kind: "score" }
      : { kind: "classes", names: params.classes ?? classesOf(rows) };

    let train: readonly Example[] = toExamples(rows, labelling);
    let validation: readonly Example[] = [];
    if (files.validation) {
      const rows = await readTable(files.validation, [...texts, label]);
      validation = toExamples(rows, labelling);
    } else if (params.holdout) {
      if (train.length === 1) {
        throw new RangeError(
          `"${files.train}" has a single example, too few for a holdout: add examples, or set "files.validation"`,
        );
      }
      const share = Math.ceil(train.length * params.holdout);
      const count = Math.min(share, train.length - 1);
      validation = drawSubset(train, count, params.seed);
      const drawn = new Set(validation);
      train = train.filter((example) => !drawn.has(example));
    }
    let test: readonly Example[] = [];
    if (files.test) {
      const testRows = await readTable(files.test, texts, [label]);
      const labelled = areLabelled(testRows, labelling, rows);
      test = toExamples(testRows, labelled ? labelling : undefined);
    }
    const splits = Object.fromEntries(
      Object.entries({ train, validation, test })
        .filter(([, examples]) => examples.length > 0),
    );
    for (const [split, examples] of Object.entries(splits)) {
      const labelled = examples[0]!.label !== undefined;
      log(
        `${split}: ${examples.length} examples${
          labelled ? "" : ", without labels"
        }`,
      );
    }
    await writeDataset(output, {
      task: params.name,
      labels: labelling.kind === "classes" ? [...labelling.names] : null,
      columns: texts,
    }, splits);
  },
});
