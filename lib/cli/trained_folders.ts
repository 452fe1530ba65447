import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { Graph, GraphStage } from "../pipeline/graph.ts";
import { visibleFolder } from "../scheduler/visible.ts";
import type { Given } from "./arguments.ts";
import { UsageError } from "./exit.ts";
import { openGraph, selectedStages } from "./open_graph.ts";
import { outOf } from "./options.ts";

/** Folders of an adapter and of its model, and the arguments that are left. */
export interface TrainedFolders {
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
export async function foldersOf(given: Given): Promise<TrainedFolders> {
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
