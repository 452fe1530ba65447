import {
  type Adapter,
  afterEpoch,
  readAdapter,
  tensorsAt,
} from "../peft/adapter.ts";
import { checkFit } from "../peft/checks.ts";
import { toModelNames } from "../peft/names.ts";
import { writeClassifierModel } from "../artifacts/classifier.ts";
import { openWeights, readModel } from "../artifacts/model.ts";
import { checkServed, servedRanks } from "../artifacts/training.ts";
import type { AdapterTensors } from "../engine/adapters/adapter.ts";
import { kindNamed, mergeAdapter } from "../engine/adapters/registry.ts";
import { scaleAt } from "../engine/adapters/scale.ts";
import { encoderTensors } from "../engine/models/parameters.ts";
import type { InputArtifact, InputsOf, Stage } from "../pipeline/task.ts";
import { problemOf, withThreshold } from "../problems/registry.ts";
import {
  NoRecommendationError,
  recommendedRank,
  reportedThreshold,
} from "./recommended_rank.ts";
import type { CUT_INPUTS, RankSettings } from "./settings.ts";

/** A stage that exports or merges an adapter. */
export type CuttingStage<Inputs = unknown, Params = unknown> = Stage<
  RankSettings & Params,
  InputsOf<typeof CUT_INPUTS> & Inputs
>;

/** An adapter, cut to the requested rank. */
export interface CutAdapter {
  /** After the requested epoch, at all its ranks. */
  readonly adapter: Adapter;
  readonly rank: number;
  /** Its tensors, cut to the rank. */
  readonly tensors: AdapterTensors;
}

/**
 * Reads the adapter of a stage, cut to the rank that its parameters or its
 * input `report` select, with the threshold of that report, if it has one.
 *
 * @throws {Error} If these contradict each other, belong to another adapter, or
 * exceed its rank.
 */
export async function readCutAdapter(
  stage: CuttingStage,
): Promise<CutAdapter> {
  const { params, inputs: { adapter: { path }, report } } = stage;
  const read = await readAdapter(path);
  const { rank } = await requestedRank(read, stage);
  const { training, ...after } = afterEpoch(read, params.epoch);
  const threshold = report === undefined
    ? undefined
    : await reportedThreshold(report.path, training, params);
  const adapter = { ...after, training: withThreshold(training, threshold) };
  return { adapter, rank, tensors: tensorsAt(rank, adapter) };
}

/**
 * The rank that a stage asks for: a number, the one that its input `report`
 * recommends, or by default the adapter's own.
 *
 * @param isLenient Whether the adapter's own is used if the report recommends
 * none by default
 * @throws {Error} If parameters and report contradict each other, or the
 * adapter does not serve the rank.
 */
export async function requestedRank(
  { training }: Adapter,
  { params, inputs: { report }, log }: CuttingStage,
  isLenient = false,
): Promise<{ readonly rank: number; readonly recommended: boolean }> {
  const highest = servedRanks(training).at(-1)!;
  const { rank = report ? "recommended" : highest, split } = params;
  if (report === undefined && (rank === "recommended" || split !== undefined)) {
    throw new RangeError(
      rank === "recommended"
        ? '"rank: recommended" requires the input "report": connect a stage of the task "report", or give "rank" as a number'
        : 'The parameter "split" requires "rank: recommended" and the input "report": connect a stage of the task "report"',
    );
  }
  if (rank !== "recommended") {
    checkServed(rank, training);
    return { rank, recommended: false };
  }
  try {
    const chosen = await recommendedRank(report!.path, training, params);
    if (chosen.caution !== undefined) log(chosen.caution);
    return {
      rank: chosen.rank,
      recommended: chosen.caution === undefined,
    };
  } catch (error) {
    const isOpen = isLenient && params.rank === undefined;
    if (!isOpen || !(error instanceof NoRecommendationError)) throw error;
    log(`${error.message}. Rank ${highest}, the adapter's own, is used`);
    return { rank: highest, recommended: false };
  }
}

/**
 * Merges the adapter of a stage into its model and writes an artifact of kind
 * `model`.
 */
export async function merge(
  stage: CuttingStage<{ readonly model: InputArtifact }>,
): Promise<void> {
  const folder = stage.inputs.model.path;
  const cut = await readCutAdapter(stage);
  await writeClassifierModel(stage.output, folder, {
    ...cut.adapter.training,
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
    toModelNames(tensors, model),
    scaleAt(rank, training),
  );
}
