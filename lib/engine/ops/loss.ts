import * as tf from "@tensorflow/tfjs-core";
import { withGradient } from "./gradient.ts";

/**
 * Mean cross-entropy of a batch, with its own gradient
 * `(softmax(logits) - onehot(labels)) / batch`.
 *
 * @param logits `[batch, labels]`
 * @param labels Class numbers, float32 `[batch]`
 * @returns Scalar, in nats
 */
export function crossEntropy(
  logits: tf.Tensor2D,
  labels: tf.Tensor1D,
): tf.Scalar {
  const [batch, classes] = logits.shape;
  const target = tf.oneHot(tf.cast(labels, "int32"), classes);
  return withGradient({ logits: logits as tf.Tensor }, ({ logits }) => {
    const shifted = tf.sub(logits, tf.max(logits, -1, true));
    const logSum = tf.log(tf.sum(tf.exp(shifted), -1, true));
    const logProbability = tf.sub(shifted, logSum);
    return {
      value: tf.mul(tf.sum(tf.mul(logProbability, target)), -1 / batch),
      saved: { logProbability, target },
    };
  }, (dy, { logProbability, target }) => ({
    logits: tf.mul(
      tf.mul(tf.sub(tf.exp(logProbability), target), 1 / batch),
      dy,
    ),
  })) as tf.Scalar;
}

/**
 * Mean squared error of a batch, with its own gradient.
 *
 * @param logits `[batch, 1]`
 * @param labels Scores, float32 `[batch]`
 */
function squaredError(
  logits: tf.Tensor2D,
  labels: tf.Tensor1D,
): tf.Scalar {
  const batch = logits.shape[0];
  const target = tf.reshape(labels, [batch, 1]);
  return withGradient({ logits: logits as tf.Tensor }, ({ logits }) => {
    const difference = tf.sub(logits, target);
    return {
      value: tf.mul(tf.sum(tf.square(difference)), 1 / batch),
      saved: { difference },
    };
  }, (dy, { difference }) => ({
    logits: tf.mul(tf.mul(difference, 2 / batch), dy),
  })) as tf.Scalar;
}

/**
 * The loss of a batch: cross-entropy, or the squared error of one output. At
 * several ranks, the weighted sum of their losses.
 *
 * @param logits `[ranks * batch, outputs]`, one rank after the other
 * @param labels Class numbers or scores, float32 `[batch]`
 * @param weights Weight of each rank's loss
 */
export function batchLoss(
  logits: tf.Tensor2D,
  labels: tf.Tensor1D,
  weights: readonly number[] = [1],
): tf.Scalar {
  const loss = logits.shape[1] === 1 ? squaredError : crossEntropy;
  if (weights.length === 1) return loss(logits, labels);
  const byRank = tf.split(logits, weights.length) as tf.Tensor2D[];
  return byRank
    .map((logits, i) => tf.mul(loss(logits, labels), weights[i]!) as tf.Scalar)
    .reduce((sum, part) => tf.add(sum, part));
}
