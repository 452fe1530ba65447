import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { printable } from "../pipeline/fault.ts";
import type { Graph, GraphStage } from "../pipeline/graph.ts";
import { loadTask } from "../pipeline/load_task.ts";
import { newMark } from "../scheduler/attempts/channel.ts";
import type { Spec } from "../scheduler/attempts/child.ts";
import { list, stageEnvironment } from "../scheduler/attempts/permissions.ts";
import { follow } from "../scheduler/attempts/process.ts";
import { visibleFolder } from "../scheduler/attempts/visible.ts";
import { projectFlags } from "../scheduler/code/project.ts";
import { visibleGpus } from "../scheduler/default_settings.ts";
import type { Event, Facility } from "../scheduler/events.ts";
import { local } from "../scheduler/executors/local.ts";
import { holdGpus } from "../scheduler/limits/gpus.ts";
import { type Command, EXIT, type Given, UsageError } from "./arguments.ts";
import { readyEngineFacility } from "./engine.ts";
import { watchInterrupts } from "./interrupts.ts";
import type { Message } from "./messages.ts";
import { openGraph, selectedStages } from "./open_pipeline.ts";
import {
  ENGINE,
  GPUS,
  gpusOf,
  GRAPH_OPTIONS,
  HELP,
  JSON_LINES,
  outOf,
  PROJECT,
} from "./options.ts";
import { writeOut } from "./renderer.ts";

/** `deno task predict`: classifies texts with a trained adapter. */
export const predictCommand: Command = {
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
    const engine = await readyEngineFacility(given, say, signal)();
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

/** Folders of an adapter and of its model, and the arguments that are left. */
interface TrainedFolders {
  readonly folders: { readonly adapter: string; readonly model: string };
  readonly texts: readonly string[];
}

/**
 * The adapter that is named by `--adapter` and `--model`, or by a pipeline and
 * one of its stages.
 *
 * @throws {UsageError} If neither names one.
 * @throws {Error} If the stage has not run.
 */
async function foldersOf(given: Given): Promise<TrainedFolders> {
  const [adapter, model] = [given.value("adapter"), given.value("model")];
  const { positionals } = given;
  if (adapter !== undefined && model !== undefined) {
    return {
      folders: { adapter: existing(adapter), model: existing(model) },
      texts: positionals,
    };
  }
  if (adapter !== undefined || model !== undefined) {
    throw new UsageError('"--adapter" and "--model" are given together');
  }
  const [pipeline, stage, ...texts] = positionals;
  if (pipeline === undefined || stage === undefined) {
    throw new UsageError(
      '"predict" needs PIPELINE and STAGE, or --adapter and --model',
    );
  }
  return { folders: await foldersOfStage(given, stage), texts };
}

async function foldersOfStage(
  given: Given,
  pattern: string,
): Promise<TrainedFolders["folders"]> {
  const out = outOf(given);
  const { graph } = await openGraph(given, out);
  const selected = await selectedStages(graph, [pattern]);
  const stages = selected.map((id) => graph.stages.get(id)!)
    .filter(({ declaration }) => declaration.output.kind === "adapter");
  const [stage, other] = stages;
  if (stage === undefined) {
    throw new UsageError(`"${pattern}" selects no stage that makes an adapter`);
  }
  if (other !== undefined) {
    throw new UsageError(
      `"${pattern}" selects more than one adapter: "${stage.id}", "${other.id}"`,
    );
  }
  const model = modelBehind(stage, graph);
  if (model === undefined) {
    throw new UsageError(
      `"${stage.id}" has no input "model"; give --adapter and --model`,
    );
  }
  const folderOf = (stage: GraphStage) => {
    const folder = visibleFolder(out, graph.pipeline, stage);
    if (existsSync(folder)) return folder;
    throw new Error(
      `Stage "${stage.id}" has no result yet: run it with "deno task pipeline ${
        given.positionals[0]
      } ${stage.id}"`,
    );
  };
  return { adapter: folderOf(stage), model: folderOf(model) };
}

/** The stage whose model an adapter belongs on; a stage that only remakes an adapter has that of the adapter. */
function modelBehind(
  { inputs }: GraphStage,
  graph: Graph,
): GraphStage | undefined {
  const [model] = inputs.model ?? [];
  if (model !== undefined) return graph.stages.get(model);
  const [adapter] = inputs.adapter ?? [];
  return adapter === undefined
    ? undefined
    : modelBehind(graph.stages.get(adapter)!, graph);
}

function existing(folder: string): string {
  if (existsSync(folder)) return resolve(folder);
  throw new UsageError(`There is no folder "${folder}"`);
}

/** A text, or a pair of them. */
interface TextInput {
  readonly text: string;
  readonly pair?: string;
}

/**
 * Texts as they are, or pairs, split where the separator first stands.
 *
 * @param separator `\t` is a tab.
 * @throws {UsageError} If a text does not hold it.
 */
function splitTexts(
  texts: readonly string[],
  separator: string | undefined,
): TextInput[] {
  if (separator === undefined) return texts.map((text) => ({ text }));
  const mark = separator.replaceAll("\\t", "\t");
  return texts.map((text) => {
    const at = text.indexOf(mark);
    if (at < 0) {
      throw new UsageError(
        `"${text}" is no pair: it does not hold ${JSON.stringify(mark)}`,
      );
    }
    return { text: text.slice(0, at), pair: text.slice(at + mark.length) };
  });
}

/** A task that a command runs by itself, with no pipeline and no cache. */
interface TaskByHand {
  /** The task's module. */
  readonly file: string;
  readonly params: Readonly<Record<string, unknown>>;
  /** Folder of the artifact for each input. */
  readonly inputs: Readonly<Record<string, string>>;
  readonly engine: Facility;
  /** Ids of the GPUs that it may use. */
  readonly gpus: readonly string[];
  readonly cpus: number;
  /** Existing, empty folder for everything that it writes. */
  readonly folder: string;
  readonly emit: (event: Event) => void;
  readonly signal: AbortSignal;
}

const PERFORM = new URL("./perform_task.ts", import.meta.url).href;

/** Seconds that it may take to end when it is interrupted. */
const GRACE = 10;

/**
 * Runs a task in a process of its own, which may read everything, and write
 * into its folder only.
 *
 * @returns The folder of its artifact.
 * @throws {StageFailure} If it fails.
 */
async function runTask(
  { file, params, inputs, engine, gpus, cpus, folder, emit, signal }:
    TaskByHand,
): Promise<string> {
  const module = pathToFileURL(file).href;
  const task = await loadTask(module);
  await engine.prepare();
  const [output, checkpoint, temporary] = ["output", "checkpoint", "tmp"].map(
    (name) => join(folder, name),
  ) as [string, string, string];
  for (const path of [output, checkpoint, temporary]) Deno.mkdirSync(path);
  const mark = newMark();
  const spec: Spec = {
    mark,
    params: task.params.parse(params),
    inputs: Object.fromEntries(
      Object.entries(inputs).map((
        [name, path],
      ) => [name, [{ stage: name, matrix: {}, path }]]),
    ),
    output,
    checkpoint,
    cpus,
    facilities: { engine: engine.settings },
  };
  const input = join(folder, "spec.json");
  Deno.writeTextFileSync(input, JSON.stringify(spec));
  const execution = local.start({
    args: [
      "run",
      "--quiet",
      "--no-check",
      "--no-prompt",
      ...projectFlags(PROJECT),
      "--allow-read",
      ...list("write", [folder]),
      "--allow-env",
      ...engine.flags,
      PERFORM,
      module,
    ],
    input,
    env: {
      ...stageEnvironment({}, [engine], temporary),
      CUDA_VISIBLE_DEVICES: gpus.join(),
    },
    startsPrograms: true,
    folder,
  });
  await follow(execution, {
    stage: "predict",
    mark,
    emit,
    onReady() {},
    timeout: undefined,
    grace: GRACE,
    signal,
  });
  return output;
}

/** What `classification.json` of the task `classify` says. */
interface Predictions {
  readonly task: string;
  readonly method: string;
  readonly rank: number;
  readonly texts: readonly {
    readonly text: string;
    readonly pair?: string;
    readonly label: string | null;
    readonly probabilities: Readonly<Record<string, number>> | null;
    readonly score: number | null;
  }[];
}

/** Predictions as text: the label, each text below it with its probabilities; or a line of JSON for each. */
function printPredictions(
  { task, method, rank, texts }: Predictions,
  json: boolean,
): string {
  const lines = json
    ? texts.map((text) => JSON.stringify({ type: "prediction", ...text, rank }))
    : [
      `${printable(task)}, ${method} at rank ${rank}`,
      ...texts.flatMap(({ text, pair, label, probabilities, score }) => [
        "",
        printable(pair === undefined ? text : `${text} | ${pair}`),
        ...(probabilities === null || label === null
          ? [`  ${score!.toFixed(3)}`]
          : rowsOf(label, probabilities)),
      ]),
    ];
  return lines.map((line) => `${line}\n`).join("");
}

/** The predicted class first, then the others by their probability. */
function rowsOf(
  label: string,
  probabilities: Readonly<Record<string, number>>,
): string[] {
  const width = Math.max(
    ...Object.keys(probabilities).map((name) => printable(name).length),
  );
  return Object.entries(probabilities)
    .sort(([a, p], [b, q]) => a === label ? -1 : b === label ? 1 : q - p)
    .map(([name, value]) =>
      `  ${printable(name).padEnd(width)}  ${value.toFixed(4)}`
    );
}
