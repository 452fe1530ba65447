import * as tf from "@tensorflow/tfjs-core";
import {
  rankScale,
  type RankScaling,
} from "../../lib/engine/adapters/scale.ts";
import {
  type Classifier,
  joinParameters,
  logitsOf,
  splitParameters,
} from "../../lib/engine/models/classifier.ts";
import type { ModelRanks } from "../../lib/engine/models/pass_weights.ts";
import type { BatchTensors } from "../../lib/engine/models/tensor_pass.ts";
import { read } from "./reference.ts";

/** These ranks side by side, with gradients of all rows. */
export function ranksAt(
  ranks: readonly number[],
  alpha: number,
  rank: number,
  scaling: RankScaling = "rank",
): ModelRanks {
  return {
    scale: tf.tensor2d(
      ranks.flatMap((b) => [...rankScale(b, { rank, alpha, scaling })]),
      [ranks.length, rank],
    ),
    gradientMask: tf.ones([rank]) as tf.Tensor1D,
  };
}

/** Logits of flat parameters without dropout: `[ranks * batch, labels]`, flat. */
export function logitsAt(
  classifier: Classifier,
  values: Float32Array,
  input: BatchTensors,
  ranks: ModelRanks,
  chunks = 1,
): Promise<Float32Array> {
  return read(tf.tidy(() =>
    logitsOf(
      classifier,
      splitParameters(tf.tensor1d(values), classifier.layout),
      input,
      ranks,
      { chunks },
    )
  ));
}

/**
 * Loss of flat parameters without dropout, and its gradient.
 *
 * @param lossOf Computes the loss of logits
 * @param logits Computes the logits of the parameters by name; by default the model's own
 */
export async function lossAndGradient(
  classifier: Classifier,
  values: Float32Array,
  input: BatchTensors,
  ranks: ModelRanks,
  lossOf: (logits: tf.Tensor2D) => tf.Scalar,
  logits = (parameters: Record<string, tf.Tensor>) =>
    logitsOf(classifier, parameters, input, ranks),
): Promise<{ loss: number; gradient: Float32Array }> {
  const { layout } = classifier;
  const parameters = splitParameters(tf.tensor1d(values), layout);
  const byName = (tensors: readonly tf.Tensor[]) =>
    Object.fromEntries(
      Object.keys(parameters).map((name, i) => [name, tensors[i]!]),
    );
  const { value, grads } = tf.valueAndGrads((...tensors: tf.Tensor[]) =>
    lossOf(logits(byName(tensors)))
  )(Object.values(parameters));
  return {
    loss: (await read(value))[0]!,
    gradient: await read(joinParameters(grads)),
  };
}
