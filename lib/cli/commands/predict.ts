import { join, resolve } from "node:path";
import { availableParallelism } from "node:os";
import type { Command, Given } from "../arguments.ts";
import { readyEngineRuntime } from "../engine.ts";
import { EXIT, UsageError } from "../exit.ts";
import { watchInterrupts } from "../interrupts.ts";
import type { Message } from "../messages.ts";
import {
  ENGINE,
  GPUS,
  gpusOf,
  GRAPH_OPTIONS,
  HELP,
  JSON_LINES,
} from "../options.ts";
import { visibleGpus } from "../../scheduler/settings.ts";
import { holdGpus } from "../../scheduler/limits.ts";
import { PROJECT } from "../place.ts";
import { writeOut } from "../render/choose.ts";
import { type Predictions, printPredictions } from "../print_predictions.ts";
import { runTask } from "../run_task.ts";
import { splitTexts } from "../split_texts.ts";
import { foldersOf } from "../trained_folders.ts";

/** `deno task predict`: classifies texts with a trained adapter. */
export const command: Command = {
  name: "predict",
  usage: "[PIPELINE STAGE] [TEXT...]",
  description: `Classify texts with a trained adapter, at any rank that it has.

STAGE is a training of PIPELINE that has run; in its place, --adapter and --model name folders, of an adapter from here or of PEFT. Without TEXTs, they are read from standard input, one a line.

Exit codes: 0 fine, 1 it failed, 2 wrong arguments or pipeline file, 129, 130 or 143 interrupted.`,
  options: [
    {
      name: "rank",
      value: "N",
      description: "Rank to predict at (default: the adapter's own)",
    },
    {
      name: "epoch",
      value: "NAME",
      choices: ["last", "best"],
      description: "Epoch whose adapter is taken (default last)",
    },
    {
      name: "pair",
      value: "SEPARATOR",
      description: "Each TEXT is a pair, parted by this; \\t is a tab",
    },
    {
      name: "precision",
      value: "NAME",
      choices: ["f32", "bf16", "auto"],
      description:
        "Of products; auto is bf16 where the machine has it (default f32, the same everywhere)",
    },
    { name: "adapter", value: "DIR", description: "Folder of an adapter" },
    {
      name: "model",
      value: "DIR",
      description: "Folder of the model that the adapter belongs on",
    },
    ...GRAPH_OPTIONS,
    ENGINE,
    GPUS,
    JSON_LINES,
    HELP,
  ],
  examples: [
    ['smoke train-dylora "great fun !"', "Classify a text at the full rank"],
    ['smoke train-dylora --rank 1 "great fun !"', "At rank 1"],
    [
      "glue-mini train-dylora@mrpc,seed=0 --pair '\\t' < pairs.tsv",
      "Pairs of texts, one a line",
    ],
    [
      '--adapter ./adapter --model ./roberta-base --json "a text"',
      "With folders, as JSON",
    ],
  ],
  takes: { least: 0, most: Infinity },
  run: predict,
};

async function predict(given: Given): Promise<number> {
  const { folders, texts } = await foldersOf(given);
  const inputs = splitTexts(
    texts.length > 0 ? texts : await linesOfInput(),
    given.value("pair"),
  );
  const rank = given.number("rank", 1);
  const epoch = given.value("epoch");
  const say = (message: Message) => {
    // What is said on the way must not stand among the predictions.
    if (message.type === "note") console.error(message.text);
    if (message.type === "install" && message.done === 0) {
      console.error(`${message.step} ${message.subject}`);
    }
  };
  using interrupts = watchInterrupts(() => {});
  const folder = Deno.makeTempDirSync({ prefix: "predict-" });
  try {
    const { signal } = interrupts;
    const engine = await readyEngineRuntime(given, say, signal)();
    using gpus = await holdGpus({
      count: engine.gpus ?? 0,
      among: gpusOf(given) ?? visibleGpus(),
      onWait: (holders) => console.error(`Waiting for a GPU of ${holders}`),
      signal,
    });
    const output = await runTask({
      file: join(
        resolve(given.value("tasks") ?? join(PROJECT, "tasks")),
        "classify.ts",
      ),
      params: {
        texts: inputs,
        precision: given.value("precision") ?? "f32",
        ...(rank !== undefined && { rank }),
        ...(epoch !== undefined && { epoch }),
      },
      inputs: folders,
      engine,
      gpus: gpus.ids,
      cpus: availableParallelism(),
      folder,
      emit: () => {},
      signal,
    });
    const text = Deno.readTextFileSync(join(output, "classification.json"));
    writeOut(printPredictions(
      JSON.parse(text) as Predictions,
      given.has("json"),
    ));
  } catch (error) {
    if (!interrupts.caused(error)) throw error;
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
  return interrupts.code ?? EXIT.fine;
}

/** The lines of standard input that are not empty. */
async function linesOfInput(): Promise<string[]> {
  const text = await new Response(Deno.stdin.readable).text();
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  if (lines.length > 0) return lines;
  throw new UsageError(
    "There is no text: give it as an argument, or one a line on standard input",
  );
}
