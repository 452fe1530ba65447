/** Own data: the parameters of the task fetch-data, and the columns that they name. */
import * as z from "zod";
import { GLUE_TASKS } from "../benchmarks/glue.ts";
import { TABLE_FORMATS } from "../data/table.ts";
import { isDataSource, parseDataSource } from "../hub/data_source.ts";
import { classNames, parsedBy } from "./settings.ts";

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
  repeated: z.enum(["keep", "drop"]).default("keep").describe(
    "What to do with rows of a file that repeat an earlier one, text and label: keep them, which counts them again, or drop them",
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
});

export type OwnData = z.output<typeof Params>;

/** Parameters of own data. */
export const OwnData = Params.refine(
  ({ completion, messages, pair, regression, classes }) =>
    [completion, messages, pair ?? regression].filter(Boolean).length < 2 &&
    !((completion || messages) && classes),
  "Expected one of completion and messages, without pair, classes and regression",
).refine(
  ({ regression, classes }) => !(regression && classes),
  "Expected no classes for a regression",
).superRefine((params, context) => {
  const named = Object.entries(columnsIn(params).named);
  for (const same of Map.groupBy(named, ([, column]) => column).values()) {
    if (same.length === 1) continue;
    // Each default is the parameter's own name, so one of them is given.
    const [key] = same.findLast(([key, column]) => key !== column)!;
    const [other] = same.find(([it]) => it !== key)!;
    const message = `Expected another column than that of "${other}"`;
    context.addIssue({ code: "custom", path: [key], message });
  }
});

function isEncoding(label: string): boolean {
  try {
    return new TextDecoder(label).encoding !== "";
  } catch {
    return false;
  }
}

/** The columns of texts, and the one of what is learnt of them, which may be their continuation. */
export function columnsIn(
  { text, pair, label, completion, messages }: OwnData,
) {
  const source = pair ? { text, pair } : { text };
  const target = completion ? { completion } : { label };
  const named: Readonly<Record<string, string>> = messages
    ? { messages }
    : { ...source, ...target };
  const columns = Object.values(named);
  /** By the parameters that name them, and their names. */
  return { named, texts: columns.slice(0, -1), learnt: columns.at(-1)! };
}
