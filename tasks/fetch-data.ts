import * as z from "zod";
import { GLUE_TASKS } from "../lib/benchmarks/glue.ts";
import { TABLE_FORMATS } from "../lib/data/table.ts";
import { isDataSource, parseDataSource } from "../lib/hub/data_source.ts";
import { expandHome } from "../lib/hub/model_source.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { HUB_PERMISSIONS } from "../lib/stages/hub.ts";
import { classNames, parsedBy } from "../lib/stages/settings.ts";

const File = parsedBy((file) => {
  if (isDataSource(file)) return parseDataSource(file);
  if (TABLE_FORMATS.some((end) => file.toLowerCase().endsWith(end))) return;
  const endings = TABLE_FORMATS.join(", ");
  throw new RangeError(
    `Expected a file whose name ends in ${endings}, or a data set of the hub, "hub:OWNER/NAME"`,
  );
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
  completion: z.string().nullish().describe(
    "Column of the text to write after that of the column text; instead of a label",
  ),
  messages: z.string().nullish().describe(
    "Column of conversations as lists of messages with role and content, the last one to be written; instead of a text and a label",
  ),
  regression: z.boolean().default(false).describe(
    "True if the label is a number to predict, not a class",
  ),
  classes: classNames(z.string().trim()).nullish().describe(
    "Class names in the order of their ids; default: those that a parquet file records, otherwise the labels in the training file, sorted",
  ),
  holdout: z.number().gt(0).lt(1).nullish().describe(
    "Fraction of the training examples to draw at random as the validation split if there is no validation file: the same of each class, equal texts together; rounded up, but one text of each class is left for training",
  ),
  seed: z.int().nonnegative().default(0).describe(
    "Seed of the draw of holdout",
  ),
  missing: z.enum(["refuse", "skip"]).default("refuse").describe(
    "What to do with rows without a label: refuse the file, or skip these rows",
  ),
  tags: z.enum(["refuse", "repair"]).default("refuse").describe(
    "What to do with tags of words that their scheme forbids after the one before, such as I-x after O: refuse the file, or change them to those of the entities that seqeval finds",
  ),
  encoding: z.string().refine(
    isEncoding,
    "Expected an encoding such as utf-8, latin1 or utf-16le",
  ).default("utf-8").describe(
    "Encoding of text files, by its name in the Encoding Standard of the web; latin1 is that of Western European spreadsheets, Windows-1252",
  ),
}).refine(
  ({ completion, messages, pair, regression, classes }) =>
    [completion, messages, pair ?? regression].filter(Boolean).length < 2 &&
    !((completion || messages) && classes),
  "Expected one of completion and messages, without pair, classes and regression",
).refine(
  ({ regression, classes }) => !(regression && classes),
  "Expected no classes for a regression",
).refine(
  ({ text, pair, label, completion, messages }) => {
    const columns = [text, pair || [], completion || label].flat();
    return messages || new Set(columns).size === columns.length;
  },
  "Expected different columns as text, pair, and label or completion",
);

function isEncoding(label: string): boolean {
  try {
    return new TextDecoder(label).encoding !== "";
  } catch {
    return false;
  }
}

export default defineTask({
  description:
    "Read your own data from TSV, CSV, JSON or Parquet files, or a data set of the hub",
  params: Params,
  inputs: {},
  output: { kind: "dataset", files: ["dataset.json"] },
  permissions: HUB_PERMISSIONS,
  sources: ({ files }) =>
    Object.fromEntries(
      Object.entries(files)
        .flatMap(([split, path]) =>
          path && !isDataSource(path)
            ? [[`files.${split}`, expandHome(path)]]
            : []
        ),
    ),
  check: async (params) =>
    (await import("../lib/stages/fetch_own_data.ts")).checkColumns(params),
  small: true,
  run: async (stage) =>
    (await import("../lib/stages/fetch_own_data.ts")).fetchData(stage),
});
