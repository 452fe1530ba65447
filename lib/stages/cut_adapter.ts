import {
  type Adapter,
  readAdapter,
  tensorsAt,
  tensorsOf,
} from "../peft/adapter.ts";
import { checkFit } from "../peft/checks.ts";
import { PEFT_PREFIX } from "../peft/names.ts";
import { writeClassifierModel } from "../artifacts/classifier.ts";
import { openWeights, readModel } from "../artifacts/model.ts";
import { checkServed, servedRanks } from "../artifacts/training.ts";
import type { AdapterTensors } from "../engine/adapters/adapter.ts";
import { kindNamed, mergeAdapter } from "../engine/adapters/registry.ts";
import { scaleAt } from "../engine/adapters/scale.ts";
import { encoderTensors } from "../engine/models/parameters.ts";
import type { InputArtifact, InputsOf, Stage } from "../pipeline/task.ts";
import { problemOf } from "../problems/registry.ts";
import { recommendedRank } from "../ranks/recommended_rank.ts";
import type { CUT_INPUTS, RankSettings } from "./settings.ts";

/** A stage that exports or merges an adapter. */
export type CuttingStage<More = unknown> = Stage<
  RankSettings,
  InputsOf<typeof CUT_INPUTS> & More
>;

/** An adapter, cut to the requested rank. */
export interface CutAdapter {
  readonly adapter: Adapter;
  readonly rank: number;
  /** Tensors of the requested epoch, cut to the rank. */
  readonly tensors: AdapterTensors;
}

/**
 * Reads the adapter of a stage, cut to the rank that its parameters or its
 * input `report` select.
 *
 * @throws {Error} If these contradict each other, belong to another adapter, or exceed its rank.
 */
export async function readCutAdapter(
  stage: CuttingStage,
): Promise<CutAdapter> {
  const { params: { epoch }, inputs } = stage;
  const adapter = await readAdapter(inputs.adapter.path);
  const rank = await requestedRank(adapter, stage);
  const tensors = tensorsOf(adapter, epoch);
  return {
    adapter,
    rank,
    tensors: tensorsAt(rank, { ...adapter, tensors }),
  };
}

async function requestedRank(
  { training }: Adapter,
  { params, inputs: { report }, log }: CuttingStage,
): Promise<number> {
  const largest = servedRanks(training).at(-1)!;
  const { rank = report ? "recommended" : largest } = params;
  const given = rank === "recommended"
    ? '"rank: recommended" requires'
    : params.split !== undefined
    ? 'The parameter "split" requires "rank: recommended" and'
    : undefined;
  if (given !== undefined && report === undefined) {
    throw new RangeError(
      `${given} the input "report": connect a stage of the task "report"`,
    );
  }
  if (rank !== "recommended") {
    checkServed(rank, training);
    return rank;
  }
  const found = await recommendedRank(report!.path, training, params);
  if (found.caution !== undefined) log(found.caution);
  return found.rank;
}

/** Merges the adapter of a stage into its model and writes an artifact of kind `model`. */
export async function merge(
  stage: CuttingStage<{ readonly model: InputArtifact }>,
): Promise<void> {
  const folder = stage.inputs.model.path;
  const cut = await readCutAdapter(stage);
  await writeClassifierModel(stage.output, folder, {
    ...cut.adapter.training,
    architecture: readModel(folder).architecture,
    tensors: mergedTensors(folder, cut),
  });
}

/**
 * The tensors of a classifier: a model with an adapter merged into it.
 *
 * @param folder Of the model
 * @throws {SyntaxError} If the adapter does not fit the model.
 */
export function mergedTensors(
  folder: string,
  { adapter: { training }, rank, tensors }: CutAdapter,
): AdapterTensors {
  const { head, outputs } = problemOf(training);
  const model = readModel(folder, head);
  checkFit(tensors, model, outputs);
  using file = openWeights(folder);
  return mergeAdapter(
    kindNamed(training.adapter),
    encoderTensors(file, model),
    tensors,
    scaleAt(rank, training),
    PEFT_PREFIX,
  );
}
