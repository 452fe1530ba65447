/** What init says and writes of texts that belong together. */
import type { Column } from "../../data/inspect_table.ts";
import { isEmpty } from "../../data/labels.ts";
import type { SimilarTexts } from "../../data/similar_texts.ts";
import { readTable } from "../../data/table.ts";
import { quoteAll } from "../../data/text_file.ts";
import { shellWord } from "../../files/shell_word.ts";
import { OWN_DATA } from "../arguments/options.ts";
import { count } from "../terminal/messages.ts";
import { epochsFor } from "./few_steps.ts";
import {
  lengthsOf,
  oneLine,
  openTemplate,
  type Source,
} from "./init_template.ts";

/** Most problems that are shown. */
const MAX_PROBLEMS = 8;

/** Rate of the profile similarity of own-data. */
const LEARNING_RATE = 5e-4;

/** Fewest epochs, as in that profile. */
const MIN_EPOCHS = 2;

/**
 * Lines on the columns, and on what the pipeline would refuse.
 *
 * @param file The path as it was typed
 */
export async function similarSummary(
  file: string,
  path: string,
  table: SimilarTexts,
  encoding: string | undefined,
): Promise<string[]> {
  const { rows, columns, text, positive, negatives, score, unread } = table;
  const writing = [
    `train=${file}`,
    "validation=null",
    `prompt=${text.name}`,
    `completion=${positive.name}`,
  ].map((it) => `-S ${shellWord(oneLine(it))}`).join(" ");
  const lengths = (it: Column) => `"${oneLine(it.name)}", ${lengthsOf(it)}`;
  const problems = await problemsOf(path, table, encoding);
  const options = `--text ${word(text)} --positive ${word(positive)}`;
  return [
    `${file}: ${count(rows, "row")}, ${count(columns.length, "column")}`,
    "  texts that belong together, for embeddings (search, similarity)",
    `  text      ${lengths(text)}`,
    `  positive  ${lengths(positive)}, near it`,
    ...negatives.map((it) => `  negative  ${lengths(it)}, not near it`),
    ...score ? [`  score     "${oneLine(score.name)}", how near they are`] : [],
    ...unread
      ? [
        `  unused    "${
          oneLine(unread.name)
        }": learn its order by ${options} --label ${word(unread)}`,
      ]
      : [],
    ...table.isGuessed
      ? [`  or        texts to write: deno task pipeline e2e ${writing}`]
      : [],
    ...problems.slice(0, MAX_PROBLEMS).map((it) =>
      `  problem   ${oneLine(it.replaceAll(path, file))}`
    ),
    ...problems.length > MAX_PROBLEMS
      ? [`  problem   ${problems.length - MAX_PROBLEMS} more like these`]
      : [],
  ];
}

function word({ name }: Column): string {
  return shellWord(oneLine(name));
}

/** What the pipeline would refuse, or take and say. */
async function problemsOf(
  path: string,
  { text, positive, negatives, score }: SimilarTexts,
  encoding: string | undefined,
): Promise<string[]> {
  const { columnOf } = await import("../../problems/registry.ts");
  const texts = [text, positive, ...negatives].map(({ name }) => name);
  const numbers = score === undefined ? [] : [score.name];
  const form = { encoding, numbers };
  const rows = await readTable(path, [...texts, ...numbers], [], form);
  const lacking = rows.filter(({ values }) => values.some(isEmpty));
  const problems = lacking.slice(0, 1).map(({ place }) =>
    `rows without a value in one of their columns: ${lacking.length}, first ${place}: complete them, or leave them out by -S missing=skip`
  );
  const whole = rows.filter((row) => !lacking.includes(row));
  if (whole.length === 0) return problems;
  const { reader, namesIn, of } = columnOf(score ? "similarity" : "retrieval");
  try {
    const read = reader!({
      repairs: false,
      log() {},
      fault: (what) => problems.push(what),
    })(whole, true);
    namesIn(read);
    const facts = { areNamed: false, isTraining: true };
    return [...problems, ...of([]).faults(read, facts)];
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return [...problems, ...error.message.split("\n")];
  }
}

/** The text of a pipeline for texts that belong together. */
export async function similarStarter(
  source: Source,
  table: SimilarTexts,
): Promise<string> {
  const { name, path, encoding } = source;
  const { rows, columns, text, positive, negatives, score, tokens } = table;
  const { document, write, set, setList } = await openTemplate(
    OWN_DATA,
    source,
  );
  const { GLUE_TASKS } = await import("../../benchmarks/glue.ts");
  set("train", path);
  set("text", text.name, lengthsOf(text));
  set("positive", positive.name, `${lengthsOf(positive)}; near the first one`);
  if (negatives.length > 0) {
    const names = negatives.map((it) => it.name);
    setList("negatives", names, "not near the first one");
  }
  if (score !== undefined) {
    set("score", score.name, "how near the two texts are");
  }
  if (encoding !== undefined) set("encoding", encoding);
  set("name", Object.hasOwn(GLUE_TASKS, name) ? `${name}-data` : name);
  const holdout = rows < 1000 ? 0.2 : 0.1;
  set("holdout", holdout);
  set(
    "maxLength",
    tokens,
    "maximum tokens per text, estimated to cover 99 % of the texts; longer ones are truncated",
  );
  const batch = Number(document.getIn(["params", "training", "batchSize"]));
  const { epochs } = epochsFor(rows * (1 - holdout), batch);
  write(["params", "training", "epochs"], Math.max(MIN_EPOCHS, epochs));
  write(["params", "training", "learningRate"], LEARNING_RATE);
  const trial = ["profiles", "trial", "maxLength"];
  write(trial, Math.min(Number(document.getIn(trial)), tokens));
  const names = quoteAll(columns.map(oneLine));
  return `# A starter for ${path}: ${rows} rows with the columns ${names}.
# Its texts belong together: the training brings their embeddings near each other.
# Change parameters here, or for one run with an option such as -S rank=4

${document.toString({ lineWidth: 0 })}`;
}
