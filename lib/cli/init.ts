import { isMap, isScalar, parseDocument } from "yaml";
import type { ParsedNode } from "yaml";
import { readText } from "../pipeline/faults.ts";
import { mask, unmask } from "../pipeline/references.ts";
import { relative, resolve } from "../store/paths.ts";
import { type Arguments, type Command, EXIT, UsageError } from "./arguments.ts";
import { count } from "./messages.ts";
import { findPipeline } from "./open_pipeline.ts";
import { HELP, PROJECT } from "./options.ts";
import { writeOut } from "./renderer.ts";
import { type Look, lookAt, type Seen } from "./table_look.ts";

/** The pipeline of which a starter is a copy with other parameters. */
const TEMPLATE = "own-data";

/** `deno task init`: writes a pipeline for a file of the user. */
export const initCommand: Command = {
  name: "init",
  usage: "FILE",
  description:
    `Look at your data and write a commented pipeline for it. FILE is a .tsv, .csv, .jsonl or .parquet file with a column of texts and one of labels, which are found by their names and contents. Nothing is trained.`,
  options: [
    { name: "text", value: "COLUMN", description: "Column of the text" },
    {
      name: "pair",
      value: "COLUMN",
      description: "Column of the second text, for tasks on pairs",
    },
    { name: "label", value: "COLUMN", description: "Column of the label" },
    {
      name: "to",
      value: "FILE",
      description:
        "Pipeline file to write (default: the name of the data in pipelines/)",
    },
    {
      name: "force",
      short: "f",
      description: "Replace the pipeline file if it exists",
    },
    HELP,
  ],
  examples: [
    ["reviews.csv", "Write pipelines/reviews.yaml"],
    [
      "pairs.tsv --text question --pair answer --label good",
      "Say what the columns are",
    ],
    ["reviews.csv --to my/pipeline.yaml", "Write it elsewhere"],
  ],
  positionals: { min: 1, max: 1 },
  run: init,
};

async function init(args: Arguments): Promise<number> {
  const [given] = args.positionals;
  const data = resolve(Deno.cwd(), given!);
  const name = nameFor(args.value("to") ?? given!);
  const target = args.value("to") ?? `pipelines/${name}.yaml`;
  const file = args.has("to")
    ? resolve(Deno.cwd(), target)
    : resolve(PROJECT, target);
  if (!/\.ya?ml$/.test(file)) {
    throw new UsageError(
      `Invalid value "${target}" for option "--to": expected a file whose name ends in .yaml`,
    );
  }
  const seen = await lookAt(data, {
    text: args.value("text"),
    pair: args.value("pair"),
    label: args.value("label"),
  });
  const text = await starter(name, projectPath(data), seen);
  write(file, text, target, args.has("force"));
  const command = args.has("to") ? target : name;
  writeOut(`${
    [
      ...summary(given!, seen),
      "",
      `Wrote ${target}. See what it would do, then run it:`,
      "",
      `  deno task plan ${command}`,
      `  deno task pipeline ${command}`,
    ].join("\n")
  }\n`);
  return EXIT.success;
}

/** @throws {UsageError} If the file exists and is not to be replaced. */
function write(
  file: string,
  text: string,
  shown: string,
  replace: boolean,
): void {
  try {
    Deno.mkdirSync(resolve(file, ".."), { recursive: true });
    Deno.writeTextFileSync(file, text, { createNew: !replace });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    throw new UsageError(
      `"${shown}" already exists: choose another file with --to, or replace it with --force`,
    );
  }
}

/** The name of a pipeline, from that of a file. */
function nameFor(path: string): string {
  const base = path.replace(/^.*[\\/]/, "").replace(/\.\w+$/, "");
  const name = base.replaceAll(/[^\w-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "")
    .replace(/-+$/, "").slice(0, 80);
  return name === "" || name === "cache" ? `${name}data` : name;
}

/** A path as pipelines name it: relative to the project where it is in it. */
function projectPath(path: string): string {
  const short = relative(PROJECT, path);
  return short.startsWith("..") ? path : `./${short}`;
}

/** What was seen, for the user. */
function summary(file: string, seen: Seen): string[] {
  const { rows, columns, text, pair, label } = seen;
  const lengths = (it: Look) =>
    `"${it.name}", ${it.median} characters in the median, ${it.longest} at most`;
  return [
    `${file}: ${count(rows, "row")}, ${count(columns.length, "column")}`,
    `  text    ${lengths(text)}`,
    ...(pair ? [`  pair    ${lengths(pair)}`] : []),
    `  label   "${label.name}", ${labelText(seen)}`,
    ...seen.problems.map((it) => `  problem ${it}`),
  ];
}

/** Most classes that are listed with their counts. */
const LISTED = 8;

function labelText({ regression, classes, range }: Seen): string {
  if (regression) {
    return `numbers from ${range[0]} to ${range[1]}: a regression`;
  }
  const listed = classes.slice(0, LISTED)
    .map(([name, size]) => `${name} ${size}`).join(", ");
  const more = classes.length - LISTED;
  return `${classes.length} classes: ${listed}${
    more > 0 ? ` and ${more} more` : ""
  }`;
}

/** Epochs that suffice for so many examples, as in the pipelines of the project: some 20,000 examples in all, and one at least. */
function epochsFor(examples: number): number {
  return examples < 3000
    ? 10
    : examples < 10_000
    ? 5
    : examples < 50_000
    ? 3
    : 1;
}

/** What a stage is for, by its name. */
const STAGES: Readonly<Record<string, string>> = {
  model: "The encoder with its tokenizer",
  data:
    "Reads the file, checks every row, and holds out the examples for validation",
  tokenize: "Turns texts into token ids",
  "train-dylora":
    "One training that serves every rank up to params.rank. pipelines/smoke.yaml has a baseline LoRA per rank to compare it with",
  "evaluate-dylora": "Scores all ranks on the validation examples in one pass",
  report: "Tables, figures and the recommended rank, as text and as a page",
  "take-away": "The adapter at the recommended rank, as PEFT loads it",
};

/** The text of a pipeline for the data: the pipeline for own data, with other parameters and with comments. */
async function starter(
  name: string,
  path: string,
  seen: Seen,
): Promise<string> {
  const document = parseDocument(mask(await readText(findPipeline(TEMPLATE))));
  const { rows, columns, text, pair, label } = seen;
  const names = columns.map((it) => `"${it}"`).join(", ");
  document.commentBefore =
    ` A starter for ${path}: ${rows} rows with the columns ${names}.\n` +
    ` Every parameter can be changed here, or for one run: -S rank=4`;
  document.set("name", name);
  document.set("description", `Find the LoRA rank for ${path} with one DyLoRA`);
  const set = (key: string, value: unknown, comment: string) => {
    const at = ["params", ...key.split(".")];
    document.setIn(at, value);
    const node = document.getIn(at, true);
    if (isScalar(node) && comment !== "") node.comment = ` ${comment}`;
  };
  const { GLUE_TASKS } = await import("../glue/benchmark.ts");
  const isTaken = Object.hasOwn(GLUE_TASKS, name);
  set("train", path, "");
  set("text", text.name, lengthComment(text));
  set(
    "pair",
    pair?.name ?? null,
    pair ? lengthComment(pair) : "column of the second text, if there are two",
  );
  set("label", label.name, labelText(seen));
  set(
    "regression",
    seen.regression,
    seen.regression
      ? `the labels look like numbers to predict: ${label.distinct} different values`
      : "true if the label is a number to predict, not a class",
  );
  set("name", isTaken ? `${name}-data` : name, "name of the data in reports");
  set(
    "holdout",
    rows < 1000 ? 0.2 : 0.1,
    "share of the examples that is held out for validation",
  );
  set(
    "maxLength",
    seen.tokens,
    "tokens that are read of a text, estimated from 99 % of the texts; longer ones are cut",
  );
  set("training.epochs", epochsFor(rows), "");
  explain(document.contents);
  return unmask(document.toString({ lineWidth: 0 }));
}

function lengthComment({ median, longest }: Look): string {
  return `${median} characters in the median, ${longest} at most`;
}

/** Puts a comment above each stage that is known. */
function explain(contents: ParsedNode | null): void {
  const stages = isMap(contents) ? contents.get("stages", true) : undefined;
  if (!isMap(stages)) return;
  for (const { key } of stages.items) {
    const comment = isScalar(key) ? STAGES[String(key.value)] : undefined;
    if (isScalar(key) && comment !== undefined) {
      key.commentBefore = ` ${comment}`;
    }
  }
}
