import {
  type Adapter,
  readAdapter,
  tensorsAt,
  tensorsOf,
} from "../peft/adapter.ts";
import { checkServed, servedRanks } from "../artifacts/training.ts";
import type { AdapterTensors } from "../engine/adapters/adapter.ts";
import type { InputsOf, Stage } from "../pipeline/task.ts";
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
