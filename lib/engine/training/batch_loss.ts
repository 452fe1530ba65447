import * as tf from "@tensorflow/tfjs-core";
import { crossEntropy, squaredError } from "../ops/loss.ts";

/**
 * The loss of a batch: cross-entropy, or of one output the squared error.
 * Where it was computed at several ranks, the weighted sum of their losses.
 *
 * @param logits `[groups * batch, outputs]`, one group after the other
 * @param labels Class numbers or scores, float32 `[batch]`
 * @param shares Weight of each group's loss
 */
export function batchLoss(
  logits: tf.Tensor2D,
  labels: tf.Tensor1D,
  shares: readonly number[] = [1],
): tf.Scalar {
  const loss = logits.shape[1] === 1 ? squaredError : crossEntropy;
  if (shares.length === 1) return loss(logits, labels);
  const groups = tf.split(logits, shares.length) as tf.Tensor2D[];
  return groups
    .map((group, i) => tf.mul(loss(group, labels), shares[i]!) as tf.Scalar)
    .reduce((sum, part) => tf.add(sum, part));
}
