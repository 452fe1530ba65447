import * as tf from "@tensorflow/tfjs-core";
import type { RankVectors } from "../ops/adapted_linear.ts";

/**
 * The ranks in use in a whole model. Modules are the adapted projections:
 * query and value of the first layer, then of the next.
 */
export interface ModelRanks {
  /** `[groups, rank]` for all modules alike, or `[modules, groups, rank]`. */
  readonly scale: tf.Tensor2D | tf.Tensor3D;
  /** `[rank]` for all modules alike, or `[modules, rank]`. */
  readonly trained: tf.Tensor1D | tf.Tensor2D;
}

/** The ranks of one layer's modules. */
export interface LayerRanks {
  readonly query: RankVectors;
  readonly value: RankVectors;
}

/** Ranks at which each sequence is computed. */
export function groupsOf({ scale }: ModelRanks): number {
  return scale.shape.at(-2)!;
}

/** Modules of a model with so many layers. */
export function moduleCount(layers: number): number {
  return 2 * layers;
}

/** The ranks of each layer. */
export function layerRanks(ranks: ModelRanks, layers: number): LayerRanks[] {
  const modules = moduleCount(layers);
  const scale = spread<tf.Tensor2D>(ranks.scale, 2, modules);
  const trained = spread<tf.Tensor1D>(ranks.trained, 1, modules);
  const module = (i: number) => ({ scale: scale[i]!, trained: trained[i]! });
  return Array.from({ length: layers }, (_, layer) => ({
    query: module(2 * layer),
    value: module(2 * layer + 1),
  }));
}

/** One tensor of `rank` dimensions for each module: the same for all, or each its own. */
function spread<T extends tf.Tensor>(
  tensor: tf.Tensor,
  rank: number,
  modules: number,
): T[] {
  if (tensor.rank === rank) return Array<T>(modules).fill(tensor as T);
  if (tensor.shape[0] !== modules) {
    throw new RangeError(
      `Ranks are given for ${
        tensor.shape[0]
      } modules, but the model has ${modules}`,
    );
  }
  return tf.unstack(tensor) as T[];
}
