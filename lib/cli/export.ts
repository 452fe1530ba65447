import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Graph, GraphStage } from "../pipeline/graph.ts";
import { loadTask } from "../pipeline/load_task.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import { plan } from "../scheduler/plan.ts";
import { visibleFolder } from "../scheduler/visible.ts";
import { type Arguments, type Command, EXIT, UsageError } from "./arguments.ts";
import { plannedEngine } from "./executor.ts";
import { openPipeline } from "./open_pipeline.ts";
import {
  ENGINE,
  GPUS,
  GRAPH_OPTIONS,
  HELP,
  PROJECT,
  settingsOf,
  shortPath,
  tasksOf,
} from "./options.ts";

/** `deno task export`: writes a stage's adapter for PEFT. */
export const exportCommand: Command = {
  name: "export",
  usage: "PIPELINE STAGE",
  description: `Write the adapter of a stage, cut to one of its ranks, as a folder for PEFT. It does what a stage of the task export-adapter does, for a rank that the pipeline does not export.

STAGE is a training stage of PIPELINE that has run with the same parameters (-S, --profile) and engine.`,
  options: [
    {
      name: "rank",
      value: "N",
      description: "Rank to export (default: the adapter's own)",
    },
    {
      name: "epoch",
      value: "NAME",
      choices: ["last", "best"],
      description: "Epoch of the adapter: last or best (default last)",
    },
    {
      name: "to",
      value: "DIR",
      description:
        "Folder to write, which must not exist (default: a name made from the stage and the rank, in the current folder)",
    },
    ...GRAPH_OPTIONS,
    ENGINE,
    GPUS,
    HELP,
  ],
  examples: [
    ["smoke train-dylora --rank 4", "Export the adapter at rank 4"],
    [
      "glue-mini train-dylora@mrpc,seed=0 --rank 2 --to ./mrpc",
      "Name the folder",
    ],
  ],
  positionals: { min: 2, max: 2 },
  run: exportAdapter,
};

async function exportAdapter(args: Arguments): Promise<number> {
  const rank = args.integer("rank", 1);
  const [, pattern] = args.positionals as [string, string];
  const { stage, inputs } = await inputsOf(args, pattern);
  const name = rank === undefined ? stage.id : `${stage.id}-rank-${rank}`;
  const output = resolve(Deno.cwd(), args.value("to") ?? name);
  if (existsSync(output)) {
    throw new UsageError(
      `"${shortPath(output)}" exists already: remove it, or name another folder with --to`,
    );
  }
  const file = join(tasksOf(args), "export-adapter.ts");
  const task = await loadTask(pathToFileURL(file).href);
  const params = task.params.parse({
    ...(rank !== undefined && { rank }),
    ...(args.has("epoch") && { epoch: args.value("epoch") }),
  });
  // A folder that is complete or not there.
  const folder = `${output}.incomplete`;
  Deno.mkdirSync(folder);
  try {
    await task.run({
      params,
      inputs: Object.fromEntries(
        Object.keys(task.inputs).flatMap((input) => {
          const artifact = inputs.get(input);
          return artifact === undefined ? [] : [[input, [artifact]]];
        }),
      ),
      output: folder,
      checkpoint: "",
      cpus: 1,
      runtimes: {},
      signal: new AbortController().signal,
      progress() {},
      log: (line) => console.log(line),
      metric() {},
    });
    Deno.renameSync(folder, output);
  } catch (error) {
    Deno.removeSync(folder, { recursive: true });
    throw error;
  }
  console.log(shortPath(output));
  return EXIT.success;
}

/**
 * The adapter of a stage and the model that it was trained on, as a run with
 * these arguments would find them.
 *
 * @throws {UsageError} If the pattern selects no adapter, or several.
 * @throws {Error} If one of them is not there.
 */
async function inputsOf(
  args: Arguments,
  pattern: string,
): Promise<{
  readonly stage: GraphStage;
  readonly inputs: ReadonlyMap<string, InputArtifact>;
}> {
  const settings = await settingsOf(args);
  const { graph, selected, store } = await openPipeline(
    args,
    settings.out,
    [pattern],
  );
  const [stage, other] = selected.map((id) => graph.stages.get(id)!)
    .filter(({ declaration }) => declaration.output.kind === "adapter");
  if (stage === undefined) {
    throw new UsageError(`"${pattern}" selects no stage that makes an adapter`);
  }
  if (other !== undefined) {
    throw new UsageError(
      `"${pattern}" selects more than one adapter: "${stage.id}", "${other.id}"; name one of them`,
    );
  }
  const decisions = await plan(graph, [stage.id], {
    ...settings,
    runtimes: { engine: plannedEngine(args, graph, store) },
  }, store);
  const model = modelOf(stage, graph);
  const inputs = new Map<string, InputArtifact>();
  for (const [name, source] of [["adapter", stage], ["model", model]] as const) {
    if (source === undefined) continue;
    const { state } = decisions.get(source.id)!;
    if (state !== "unchanged") {
      throw new Error(
        `Stage "${source.id}" has no result with these parameters in "${
          shortPath(settings.out)
        }": run it with "deno task pipeline" and the same options first`,
      );
    }
    const path = visibleFolder(settings.out, graph.pipeline, source);
    inputs.set(name, { stage: name, matrix: {}, path });
  }
  return { stage, inputs };
}

/** The stage of the base model: the input "model", or that of the input "adapter". */
function modelOf({ inputs }: GraphStage, graph: Graph): GraphStage | undefined {
  const [model] = inputs.model ?? [];
  if (model !== undefined) return graph.stages.get(model);
  const [adapter] = inputs.adapter ?? [];
  return adapter === undefined
    ? undefined
    : modelOf(graph.stages.get(adapter)!, graph);
}
