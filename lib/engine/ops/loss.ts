import * as tf from "@tensorflow/tfjs-core";
import { withGradient } from "./gradient.ts";

/**
 * Mean cross-entropy of a batch, with its own gradient
 * `(softmax(logits) - target) / batch`.
 *
 * @param logits `[batch, labels]`
 * @param target Probabilities of the classes, `[batch, labels]`
 * @returns Scalar, in nats
 */
function crossEntropyWith(
  logits: tf.Tensor2D,
  target: tf.Tensor2D,
): tf.Scalar {
  const [batch] = logits.shape;
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
 * Mean cross-entropy of a batch.
 *
 * @param logits `[batch, labels]`
 * @param labels Class numbers, float32 `[batch]`
 * @returns Scalar, in nats
 */
export function crossEntropy(
  logits: tf.Tensor2D,
  labels: tf.Tensor1D,
): tf.Scalar {
  return crossEntropyWith(logits, targetOf(logits, labels));
}

/**
 * Mean squared error of a batch, with its own gradient.
 *
 * @param logits `[batch, 1]`
 * @param target `[batch, 1]`
 */
function squaredError(
  logits: tf.Tensor2D,
  target: tf.Tensor2D,
): tf.Scalar {
  const batch = logits.shape[0];
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

/** What the outputs should be: probabilities of the classes, or scores. `[batch, outputs]` */
function targetOf(logits: tf.Tensor2D, labels: tf.Tensor1D): tf.Tensor2D {
  const [batch, outputs] = logits.shape;
  return outputs === 1
    ? tf.reshape(labels, [batch, 1])
    : tf.oneHot(tf.cast(labels, "int32"), outputs) as tf.Tensor2D;
}

/** Weights of the losses of a batch at several ranks, and how much later ranks learn from the first. */
export interface LossOptions {
  readonly lossWeights?: readonly number[];
  readonly distill?: number;
}

/**
 * The loss of a batch: cross-entropy, or the squared error of one output. At
 * several ranks, the weighted sum of their losses. With `distill`, a share of
 * the target at the ranks after the first is what the model gives at the first,
 * through which no gradient flows.
 *
 * @param logits `[ranks * batch, outputs]`, one rank after the other
 * @param labels Class numbers or scores, float32 `[batch]`
 */
export function batchLoss(
  logits: tf.Tensor2D,
  labels: tf.Tensor1D,
  { lossWeights: weights = [1], distill = 0 }: LossOptions = {},
): tf.Scalar {
  const isScore = logits.shape[1] === 1;
  const loss = isScore ? squaredError : crossEntropyWith;
  if (weights.length === 1) return loss(logits, targetOf(logits, labels));
  const byRank = tf.split(logits, weights.length) as tf.Tensor2D[];
  const target = targetOf(byRank[0]!, labels);
  const distilled = distill === 0 ? target : tf.add(
    tf.mul(target, 1 - distill),
    tf.mul(isScore ? byRank[0]! : tf.softmax(byRank[0]!), distill),
  ) as tf.Tensor2D;
  return byRank
    .map((logits, i) =>
      tf.mul(
        loss(logits, i === 0 ? target : distilled),
        weights[i]!,
      ) as tf.Scalar
    )
    .reduce((sum, part) => tf.add(sum, part));
}
