import { dirname, join, resolve } from "node:path";
import type { Classification } from "../../artifacts/predictions.ts";
import { printable } from "../../pipeline/faults.ts";
import { problemNamed } from "../../problems/registry.ts";
import { removeFolder, statIfThere } from "../../files/files.ts";
import { type Arguments, command, UsageError } from "../arguments/arguments.ts";
import {
  ENGINE_OPTIONS,
  JSON_LINES,
  KEY_OPTIONS,
  shortPath,
  writingTo,
} from "../arguments/options.ts";
import { heldEngine } from "../runtime/engine.ts";
import { progressLine } from "../terminal/estimate.ts";
import { interruptible } from "../terminal/interrupts.ts";
import { count } from "../terminal/messages.ts";
import { writeLine, writeOut } from "../terminal/renderer.ts";
import { dataOf, textColumns, writesTexts } from "./pipeline_outcome.ts";
import { readTexts, writePredicted } from "./predict_table.ts";
import { runAlone } from "./run_alone.ts";
import { adapterConfig, adapterFolder, adapterStage } from "./stage_result.ts";

export const predictCommand = command`
  predict [PIPELINE STAGE] [TEXT...]

  Classify texts with a trained adapter, at any of its ranks, or write what follows them.

  STAGE makes or exports an adapter, as trainings do, and has run with the same parameters (-S, --profile) and engine. Instead of PIPELINE and STAGE, --adapter and --model name folders, of an adapter in PEFT's format and of its base model; --model is not needed if the adapter's configuration names a folder. Without TEXTs, standard input is read, one text per line; empty lines are skipped.

  With --in FILE, the rows of a table are classified, which is read as your own data are (.csv, .tsv, .jsonl, .json or .conll, also as .gz, or .parquet). It is written to --out FILE (.csv, .tsv or .jsonl) with all its columns and "predicted_label" and "probability", or "predicted_score", of words with tags "predicted_entities", or what is written as "predicted_text". Name it by --to instead if --out is the folder of the results of PIPELINE.

  Exit codes: 0 success, 1 failure, 2 invalid arguments or pipeline file, 129, 130 or 143 interrupted.

  Options:
  --rank N  Rank to predict at, or recommended (default: the one recommended by the pipeline's report, else the adapter's own)
  --epoch NAME{last,best}  Epoch of the adapter: last or best (default last)
  --pair SEPARATOR  Split each TEXT into a pair at this separator; \t is a tab. With --in, the column of the second texts
  --in FILE  Classify the rows of a table, and write it with its predictions to --out
  --to FILE  With --in, the table to write, if --out is the folder of results
  --text COLUMN  With --in, the column of the texts (default: that of the training, else text)
  --encoding NAME  With --in, the encoding of the table, such as latin1 (default utf-8)
  --beams N  Of an adapter that writes texts, how many are followed at a time (default 1: the most probable token each time)
  --max-tokens N  Maximum tokens of a text to write (default 128)
  --precision NAME{f32,bf16,auto}  Precision of matrix products; auto is bf16 where the machine supports it (default f32, which gives the same result on any machine)
  --adapter DIR  Folder of an adapter
  --model DIR  Folder of the adapter's base model
  ${KEY_OPTIONS}
  ${JSON_LINES}

  Examples:
  smoke train-dylora "great fun !"  Classify a text at the recommended rank
  smoke train-dylora --rank 1 "great fun !"  Classify it at rank 1
  glue-mini train-dylora@mrpc,seed=0 --pair '\t' < pairs.tsv  Classify pairs of texts, one per line
  --adapter ./adapter --model ./roberta-base --json "a text"  Use folders, and print JSON
  own-data train-dylora --in new.csv --out predicted.csv  Classify the rows of a table
`(async (given) => {
  const input = given.value("in");
  // With "--in" alone, "--out" is the table to write, not the folder of results.
  const args = input === undefined || given.has("to")
    ? given
    : given.without("out");
  const out = given.value(given.has("to") ? "to" : "out");
  const texts = args.positionals.slice(args.has("adapter") ? 0 : 2);
  if (input !== undefined && out === undefined) {
    throw new UsageError('Option "--in" requires "--out", the table to write');
  }
  if (input !== undefined && texts.length > 0) {
    throw new UsageError(
      `Unexpected argument "${texts[0]}": the texts are those of "--in"`,
    );
  }
  using opened = new DisposableStack();
  const { inputs, lastingPaths, columns, by } = await foldersOf(args, opened);
  const pair = args.value("pair");
  const isPair = columns.length > 1;
  // The column of second texts is known.
  const isNamed = input !== undefined && isPair;
  if (by !== undefined && isPair !== args.has("pair") && !isNamed) {
    throw new UsageError(
      isPair
        ? `"${by}" classifies pairs of texts: separate them, as in --pair '|' "a text|its pair"`
        : `"${by}" classifies single texts: leave out "--pair"`,
    );
  }
  const unused = ["beams", "max-tokens"].find((it) => args.has(it));
  const isWritten = (unused !== undefined || /\.tsv$/i.test(out ?? "")) &&
    await writesTexts(inputs.adapter!);
  if (unused !== undefined && !isWritten) {
    throw new UsageError(`Option "--${unused}" does not apply to classifiers`);
  }
  const [first = "text", second] = columns;
  const named = [args.value("text") ?? first, pair ?? second]
    .filter((it) => it !== undefined);
  const table = input === undefined
    ? undefined
    : await readTexts(input, out!, named, args.value("encoding"), isWritten);
  const params = {
    texts: table?.texts.map(({ index: _, ...text }) => text) ??
      splitTexts(texts.length > 0 ? texts : await readLines(), pair),
    rank: args.value("rank") === "recommended"
      ? "recommended"
      : args.integer("rank", 1),
    beams: args.integer("beams", 1, 64),
    maxTokens: args.integer("max-tokens", 1),
    epoch: args.value("epoch"),
    precision: args.value("precision") ?? "f32",
  };
  const folder = Deno.makeTempDirSync({ prefix: "predict-" });
  opened.defer(() => removeFolder(folder));
  return await interruptible(async (signal) => {
    using engine = await heldEngine(args, signal);
    const show = progressLine();
    const output = await writingTo(
      dirname(folder),
      "set TMPDIR to a folder on another disk",
      () =>
        runAlone(args, "classify", {
          ...{ params, inputs, lastingPaths, ...engine, folder, signal },
          emit: (event) => {
            show(event);
            if (event.type === "log" && event.stream === "log") {
              console.error(printable(event.line));
            }
          },
        }),
    );
    const text = Deno.readTextFileSync(join(output, "classification.json"));
    const predictions = JSON.parse(text) as Classification;
    const { rank, texts } = predictions;
    if (table !== undefined) {
      await writingTo(
        dirname(resolve(out!)),
        'name another file by "--out"',
        () => writePredicted(out!, table, predictions),
      );
      const [path, rows] = [shortPath(out!), texts.length];
      const text = `${count(rows, "row")} at rank ${rank}: ${path}`;
      return writeLine(args, { type: "predicted", path, rows, rank }, text);
    }
    const lines = args.has("json")
      ? texts.map((it) => JSON.stringify({ type: "prediction", ...it, rank }))
      : textLines(predictions);
    writeOut(lines.map((line) => `${line}\n`).join(""));
  });
});

/**
 * The folders of the adapter that `--adapter` and `--model` name, or a pipeline
 * and a stage; what replaces temporary ones among them in a text by lasting
 * ones; and of a stage, its id and the columns of the one or two texts of its
 * examples.
 *
 * @param opened Its disposal removes the folders of results.
 */
async function foldersOf(args: Arguments, opened: DisposableStack) {
  const adapter = adapterFolder(args, ENGINE_OPTIONS);
  const named = args.value("model");
  if (adapter === undefined && named !== undefined) {
    throw new UsageError('Option "--model" requires "--adapter"');
  }
  if (adapter === undefined) return await foldersOfStage(args, opened);
  const folder = existingFolder("adapter", adapter);
  const model = named === undefined
    ? await baseModelOf(folder)
    : existingFolder("model", named);
  const inputs = { adapter: folder, model };
  const lastingPaths = (text: string) => text;
  return { inputs, lastingPaths, columns: [], by: undefined };
}

function existingFolder(option: string, folder: string): string {
  const found = statIfThere(folder);
  if (found?.isDirectory) return resolve(folder);
  const fault = found === undefined ? "does not exist" : "is not a folder";
  throw new UsageError(`Folder "${folder}" of option "--${option}" ${fault}`);
}

async function baseModelOf(adapter: string): Promise<string> {
  const name = statIfThere(join(adapter, "adapter_config.json"))
    ? (await adapterConfig(adapter)).base_model_name_or_path
    : undefined;
  if (name && statIfThere(resolve(name, "config.json"))) return resolve(name);
  const named = name ? `"${name}", which is not a folder,` : "no folder";
  throw new UsageError(
    `Option "--adapter" requires "--model": the adapter names ${named} as its base model`,
  );
}

async function foldersOfStage(args: Arguments, opened: DisposableStack) {
  const found = await adapterStage(args, ["adapter", "peft"]);
  const { graph, stage, model, open, openReported } = found;
  if (model === undefined) {
    throw new UsageError(
      `Stage "${stage.id}" has no input "model": use --adapter and --model instead`,
    );
  }
  const data = dataOf(stage, graph);
  const rank = args.value("rank") ?? "default";
  const results = opened.use(
    ["recommended", "default"].includes(rank)
      ? await openReported({ model, data }, rank === "recommended")
      : await open({ model, data }),
  );
  const { inputs, lastingPaths } = results;
  const columns = data ? textColumns(inputs.data!) : [];
  return { inputs, lastingPaths, columns, by: data && stage.id };
}

/** Splits texts into pairs at the first occurrence of the separator. */
function splitTexts(
  texts: readonly string[],
  separator: string | undefined,
): { text: string; pair?: string }[] {
  if (separator === undefined) return texts.map((text) => ({ text }));
  const mark = separator.replaceAll("\\t", "\t");
  return texts.map((text) => {
    const at = text.indexOf(mark);
    if (at < 0) {
      const shown = JSON.stringify(mark);
      throw new UsageError(
        `"${text}" is not a pair: it does not contain the separator ${shown} of option "--pair"`,
      );
    }
    return { text: text.slice(0, at), pair: text.slice(at + mark.length) };
  });
}

async function readLines(): Promise<string[]> {
  const bytes = await new Response(Deno.stdin.readable).bytes();
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new UsageError(
      'Standard input is not valid UTF-8; convert it, for example with "iconv"',
    );
  }
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  if (lines.length > 0) return lines;
  throw new UsageError(
    "No texts: give them as arguments, or on standard input, one per line",
  );
}

/** Each text, followed by its score, by the probability of each class, the predicted one first, or by what is written. */
export function textLines(
  { task, problem, rank, recommended, texts }: Classification,
): string[] {
  const lines = [
    `${printable(task)}, rank ${rank}${recommended ? " (recommended)" : ""}`,
  ];
  for (const { text, pair, ...prediction } of texts) {
    lines.push("", printable(pair === undefined ? text : `${text} | ${pair}`));
    const shown = problemNamed(problem).lines(prediction)
      .map((line) => line.map(printable) as [string, string]);
    const width = Math.max(...shown.map(([name]) => name.length));
    for (const [name, value] of shown) {
      const text = name && `${name.padEnd(width)}  `;
      lines.push(`  ${text}${value.replaceAll("\n", "\n  ")}`);
    }
  }
  return lines;
}
