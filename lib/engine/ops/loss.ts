import * as tf from "@tensorflow/tfjs-core";
import { withGradient } from "./gradient.ts";

/**
 * Weighted sum of the cross-entropies of a batch, with its own gradient
 * `(softmax(logits) - onehot(labels)) * weights`.
 *
 * @param logits `[batch, labels]`
 * @param labels Class numbers, float32 `[batch]`
 * @param weights Weight of each example, `[batch]`; for the mean by default
 * @returns Scalar, in nats
 */
export function crossEntropy(
  logits: tf.Tensor2D,
  labels: tf.Tensor1D,
  weights: tf.Tensor = tf.fill(labels.shape, 1 / labels.size),
): tf.Scalar {
  const [batch, classes] = logits.shape;
  const target = tf.oneHot(tf.cast(labels, "int32"), classes);
  const weight = tf.reshape(weights, [batch, 1]);
  return withGradient({ logits: logits as tf.Tensor }, ({ logits }) => {
    const shifted = tf.sub(logits, tf.max(logits, -1, true));
    const logSum = tf.log(tf.sum(tf.exp(shifted), -1, true));
    const logProbability = tf.sub(shifted, logSum);
    return {
      value: tf.mul(tf.sum(tf.mul(tf.mul(logProbability, target), weight)), -1),
      saved: { logProbability, target, weight },
    };
  }, (dy, { logProbability, target, weight }) => ({
    logits: tf.mul(
      tf.mul(tf.sub(tf.exp(logProbability), target), weight),
      dy,
    ),
  })) as tf.Scalar;
}

/**
 * Weighted sum of the squared errors of a batch.
 *
 * @param logits `[batch, 1]`
 * @param labels Scores, float32 `[batch]`
 * @param weights Weight of each example, `[batch]`
 */
function squaredError(
  logits: tf.Tensor2D,
  labels: tf.Tensor1D,
  weights: tf.Tensor,
): tf.Scalar {
  const [target, weight] = [labels, weights]
    .map((it) => tf.reshape(it, [logits.shape[0], 1]));
  return tf.sum(tf.mul(tf.square(tf.sub(logits, target!)), weight!));
}

/**
 * The loss of a batch: the weighted sum of the cross-entropies, or squared
 * errors of one output, of its examples. At several ranks, the weighted sum of
 * their losses.
 *
 * @param logits `[ranks * batch, outputs]`, one rank after the other
 * @param labels Class numbers or scores, float32 `[batch]`
 * @param rankWeights Weight of each rank's loss
 * @param weights Weight of each example's loss, `[batch]`; for the mean by default
 */
export function batchLoss(
  logits: tf.Tensor2D,
  labels: tf.Tensor1D,
  rankWeights: readonly number[] = [1],
  weights: tf.Tensor = tf.fill(labels.shape, 1 / labels.size),
): tf.Scalar {
  const loss = logits.shape[1] === 1 ? squaredError : crossEntropy;
  if (rankWeights.length === 1) return loss(logits, labels, weights);
  const byRank = tf.split(logits, rankWeights.length) as tf.Tensor2D[];
  return byRank
    .map((logits, i) =>
      tf.mul(loss(logits, labels, weights), rankWeights[i]!) as tf.Scalar
    )
    .reduce((sum, part) => tf.add(sum, part));
}
