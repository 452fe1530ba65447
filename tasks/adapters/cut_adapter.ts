import type { TensorValues } from "../../lib/engine/safetensors/writer.ts";
import type { InputArtifact, Stage } from "../../lib/pipeline/task.ts";
import { type Adapter, readAdapter, tensorsOf } from "../artifacts/adapter.ts";
import type { ModuleRanks } from "../artifacts/module_ranks.ts";
import { askedRanks } from "./asked_ranks.ts";
import { cutTensors } from "./cut_tensors.ts";
import type { RecommendationRequest } from "./recommended_rank.ts";

/** What of an adapter is taken. */
export interface CutSettings extends RecommendationRequest {
  /** Of every module; by default the adapter's own. */
  readonly rank?: number | "recommended" | undefined;
}

/** An adapter, and the part of it that was asked for. */
export interface CutAdapter {
  readonly adapter: Adapter;
  readonly ranks: ModuleRanks;
  /** The tensors of the epoch, each module at its rank. */
  readonly tensors: Readonly<Record<string, TensorValues>>;
}

/**
 * Reads a stage's adapter at the rank that its parameters, its input `report`
 * or its input `ranks` ask for.
 *
 * @throws {TypeError} If they contradict each other, or do not belong to the adapter.
 * @throws {RangeError} If a rank is beyond the adapter's own.
 */
export async function readCutAdapter(
  { params, inputs }: Pick<Stage<CutSettings>, "params" | "inputs">,
): Promise<CutAdapter> {
  const only = (name: string): InputArtifact | undefined => inputs[name]?.[0];
  const adapter = await readAdapter(only("adapter")!.path);
  const ranks = await askedRanks(adapter, {
    ...params,
    report: only("report"),
    ranks: only("ranks"),
  });
  const tensors = cutTensors(tensorsOf(adapter, params.epoch), ranks);
  return { adapter, ranks, tensors };
}
