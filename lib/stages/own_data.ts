/**
 * Own data: the parameters of the task fetch-data, and the columns that they
 * name.
 */
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
    corpus: File.nullish(),
  }).describe(
    "File of each split, or hub:OWNER/NAME[@REVISION][:CONFIG][/SPLIT] for parquet files of the hub; if train names no split, the validation and test splits of the same data set are used too; test may lack labels (no column, or all empty or -1); corpus has further texts, in the column positive, among which the answers of a query are searched",
  ),
  only: z.literal("test").optional().describe(
    "test = write the test split alone, which then needs labels: a test set that is added later changes nothing that was made of the other splits",
  ),
  text: z.string().default("text").describe("Column of the text"),
  pair: z.string().nullish().describe(
    "Column of the second text, for tasks on pairs",
  ),
  label: z.string().default("label").describe("Column of the label"),
  labels: classNames(z.string()).nullish().describe(
    "Columns of 0 and 1, one for each label that a text may have, instead of a label",
  ),
  separator: z.string().min(1).nullish().describe(
    "What stands between the labels of a text that may have several, such as |; auto: what the training file has. Columns of lists need none",
  ),
  completion: z.string().nullish().describe(
    "Column of the text to write after that of the column text; instead of a label",
  ),
  messages: z.string().nullish().describe(
    "Column of conversations as lists of messages with role and content, the last one to be written; instead of a text and a label",
  ),
  positive: z.string().nullish().describe(
    "Column of a text that is near that of the column text, as an answer is near its question; instead of a label",
  ),
  negatives: z.array(z.string()).min(1).nullish().describe(
    "Columns of texts that are not near it though they may seem so, with positive",
  ),
  group: z.string().nullish().describe(
    "Column of which equal values say that texts belong together, such as an intent; instead of positive or a label",
  ),
  score: z.string().nullish().describe(
    "Column of a number that says how near the two texts are, with positive; without it, they belong together",
  ),
  scoreRange: z.tuple([z.number(), z.number()]).nullish().describe(
    "Least and most score that a row may have; default: any number",
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
  missing: z.enum(["refuse", "skip", "none"]).default("refuse").describe(
    "What to do with rows without a label: refuse the file, or skip these rows; none = where texts may have several labels, such a text has none",
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
  ({ only, files }) => only === undefined || Boolean(files.test),
  '"only: test" requires the file "files.test"',
).refine(
  ({ completion, messages, pair, regression, classes }) =>
    [completion, messages, pair ?? regression].filter(Boolean).length < 2 &&
    !((completion || messages) && classes),
  "Expected one of completion and messages, without pair, classes and regression",
).refine(
  ({ regression, classes }) => !(regression && classes),
  "Expected no classes for a regression",
).refine(
  ({ labels, separator, regression, completion, messages }) =>
    !(labels || separator) || !(regression || completion || messages),
  "Expected no regression, completion and messages beside several labels (labels or separator)",
).refine(
  // "auto" is what the profile of several labels sets: it finds none here.
  ({ labels, separator, classes }) =>
    !labels || !((separator && separator !== "auto") || classes),
  "Expected labels, columns of 0 and 1, without separator and classes",
).refine(
  ({ positive, negatives, score, scoreRange }) =>
    (positive || !(negatives || score)) && !(negatives && score) &&
    (score || !scoreRange),
  "Expected positive with negatives or score, and scoreRange with score alone",
).refine(
  ({ files, positive, score }) => !files.corpus || (positive && !score),
  "Expected a corpus with positive, without score",
).refine(
  ({ positive, group, pair, labels, separator, classes, ...others }) =>
    !(positive || group) || !(pair || labels || separator || classes ||
      others.regression || others.completion || others.messages),
  "Expected positive or group without pair, labels, separator, classes, regression, completion and messages",
).refine(
  ({ positive, group }) => !(positive && group),
  "Expected one of positive and group",
).refine(
  ({ missing, regression, completion, messages, positive, group }) =>
    missing !== "none" ||
    !(regression || completion || messages || positive || group),
  '"missing: none" applies to texts that may have several labels',
).refine(
  ({ separator, classes }) =>
    !separator || !classes?.some((name) => name.includes(separator)),
  {
    path: ["separator"],
    message:
      "Expected a separator that no class has in its name: choose another, or write the labels as lists in JSON",
  },
).superRefine((params, context) => {
  const { labels, negatives } = params;
  const named = [
    ...Object.entries(columnsIn(params).named),
    ...(labels ?? []).map((column) => ["labels", column] as const),
    ...(negatives ?? []).map((column) => ["negatives", column] as const),
  ];
  for (const same of Map.groupBy(named, ([, column]) => column).values()) {
    if (same.length === 1) continue;
    // Each default is the parameter's own name, so one of them is given.
    const [key] = same.findLast(([key, column]) => key !== column)!;
    const [other] = same.find(([it]) => it !== key) ?? [key];
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

/** The columns that own data are read from. */
export interface OwnColumns {
  /** Those named one by one, by their parameters. */
  readonly named: Readonly<Record<string, string>>;
  readonly texts: readonly string[];
  /**
   * The one of the target, such as a label or the text to write; or those of 0
   * and 1, one for each label; none if the texts of a row belong together.
   */
  readonly targets: readonly string[];
}

/** The columns that own data are read from. */
export function columnsIn(
  { text, pair, label, labels, completion, messages, ...others }: OwnData,
): OwnColumns {
  if (messages) return { named: { messages }, texts: [], targets: [messages] };
  const { positive, negatives, score, group } = others;
  if (positive) {
    return {
      named: { text, positive, ...score && { score } },
      texts: [text, positive, ...negatives ?? []],
      targets: score ? [score] : [],
    };
  }
  if (group) return { named: { text, group }, texts: [text], targets: [group] };
  const source = pair ? { text, pair } : { text };
  const texts = Object.values(source);
  if (labels) return { named: source, texts, targets: labels };
  const target = completion ? { completion } : { label };
  return {
    named: { ...source, ...target },
    texts,
    targets: Object.values(target),
  };
}
