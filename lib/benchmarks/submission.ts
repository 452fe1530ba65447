import { TextReader, Uint8ArrayWriter, ZipWriter } from "@zip.js/zip.js";
import { GLUE_TASKS, type GlueTask, type GlueTaskName } from "./glue.ts";

/** Predictions for a test set. */
export interface TestPredictions {
  /** Name of the GLUE task on the hub. */
  readonly task: string;
  /** `test`, or one of MNLI's two test sets. */
  readonly split: string;
  /** Number of each example in its source. */
  readonly index: ArrayLike<number>;
  /** Class numbers, or scores of a regression. */
  readonly predictions: ArrayLike<number>;
}

/** A file of a submission. */
interface SubmissionFile {
  readonly name: string;
  readonly task: GlueTaskName;
  readonly split: string;
  /** Number of examples in the published test set. */
  readonly examples: number;
  /** Whether a class is given by number or by name. */
  readonly classes: "number" | "name";
}

const file = (
  name: string,
  task: GlueTaskName,
  examples: number,
  classes: "number" | "name",
  split = "test",
): SubmissionFile => ({ name, task, split, examples, classes });

/**
 * Files that the benchmark's server expects.
 *
 * @see https://gluebenchmark.com/faq
 */
const FILES: readonly SubmissionFile[] = [
  file("CoLA.tsv", "cola", 1063, "number"),
  file("SST-2.tsv", "sst2", 1821, "number"),
  file("MRPC.tsv", "mrpc", 1725, "number"),
  file("STS-B.tsv", "stsb", 1379, "number"),
  file("QQP.tsv", "qqp", 390_965, "number"),
  file("MNLI-m.tsv", "mnli", 9796, "name", "test_matched"),
  file("MNLI-mm.tsv", "mnli", 9847, "name", "test_mismatched"),
  file("QNLI.tsv", "qnli", 5463, "name"),
  file("RTE.tsv", "rte", 3000, "name"),
  file("WNLI.tsv", "wnli", 146, "number"),
  file("AX.tsv", "ax", 1104, "name"),
];

/**
 * Packs predictions into the zip file that the benchmark's server expects.
 * Equal predictions give equal bytes.
 *
 * @param options.partial Allows missing tasks and examples, which the server rejects.
 * @returns The zip file.
 * @throws {Error} With every fault, if the server would reject the file.
 */
export async function packSubmission(
  predictions: readonly TestPredictions[],
  { partial = false }: { readonly partial?: boolean } = {},
): Promise<Uint8Array> {
  const faults: string[] = [];
  const texts = new Map<string, string>();
  for (const known of FILES) {
    const [found, ...more] = predictions.filter(({ task, split }) =>
      task === known.task && split === known.split
    );
    const fault = found === undefined
      ? (partial ? undefined : "is missing")
      : more.length > 0
      ? "is given twice"
      : findFault(found, known, partial);
    if (fault !== undefined) faults.push(`"${known.name}" ${fault}`);
    else if (found !== undefined) texts.set(known.name, format(found, known));
  }
  for (const { task, split } of predictions) {
    if (!FILES.some((known) => known.task === task && known.split === split)) {
      faults.push(`GLUE has no test set "${split}" for the task "${task}"`);
    }
  }
  if (faults.length > 0) {
    throw new Error(
      `The predictions are not a valid GLUE submission:\n${faults.join("\n")}`,
    );
  }
  return await zip(texts);
}

function findFault(
  { index, predictions }: TestPredictions,
  { task, examples }: SubmissionFile,
  partial: boolean,
): string | undefined {
  const { labels }: GlueTask = GLUE_TASKS[task];
  if (index.length !== predictions.length) {
    return `has ${predictions.length} predictions for ${index.length} examples`;
  }
  const seen = new Set(Array.from(index));
  if (seen.size !== index.length) return "has a duplicate example index";
  if (!partial) {
    if (index.length !== examples) {
      return `has ${index.length} examples, expected ${examples}`;
    }
    for (let i = 0; i < examples; i++) {
      if (!seen.has(i)) return `has no example ${i}`;
    }
  }
  const wrong = Array.from(predictions).find((value) =>
    labels ? !(value in labels) : !Number.isFinite(value)
  );
  return wrong === undefined
    ? undefined
    : `has the invalid prediction ${wrong}`;
}

/** TSV with index and prediction of each example, ordered by index. */
function format(
  { index, predictions }: TestPredictions,
  { task, classes }: SubmissionFile,
): string {
  const { labels }: GlueTask = GLUE_TASKS[task];
  const write = (value: number): string => {
    if (labels === null) return Math.max(0, Math.min(5, value)).toFixed(3);
    return classes === "name" ? labels[value]! : String(value);
  };
  const order = Array.from(index, (_, i) => i)
    .sort((a, b) => index[a]! - index[b]!);
  const lines = order.map((i) => `${index[i]}\t${write(predictions[i]!)}\n`);
  return `index\tprediction\n${lines.join("")}`;
}

async function zip(texts: ReadonlyMap<string, string>): Promise<Uint8Array> {
  const writer = new ZipWriter(new Uint8ArrayWriter(), {
    useWebWorkers: false,
    extendedTimestamp: false,
    // A constant date, the earliest of the format, for reproducible bytes.
    lastModDate: new Date(1980, 0, 1),
  });
  for (const [name, text] of texts) {
    await writer.add(name, new TextReader(text));
  }
  return await writer.close();
}
