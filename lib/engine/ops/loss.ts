import * as tf from "@tensorflow/tfjs-core";
import { withGradient } from "./gradient.ts";

/**
 * Weighted sum of the losses of some examples.
 *
 * @param logits `[batch, outputs]`
 * @param targets Class numbers or scores, float32 `[batch]`; or what a teacher says, its probabilities or scores, `[batch, outputs]`
 * @param weights Weight of each example, `[batch]`
 */
type Loss = (
  logits: tf.Tensor2D,
  targets: tf.Tensor,
  weights: tf.Tensor,
) => tf.Scalar;

/**
 * The cross-entropy, in nats, with its own gradient
 * `(softmax(logits) - targets) * weights`.
 */
const crossEntropy: Loss = (logits, targets, weights) => {
  const [batch, classes] = logits.shape;
  const target = targets.rank === 2
    ? targets
    : tf.oneHot(tf.cast(targets, "int32"), classes);
  const weight = tf.reshape(weights, [batch, 1]);
  return withGradient({ logits }, () => {
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
};

/** The squared error of one output. */
const squaredError: Loss = (logits, targets, weights) => {
  const [target, weight] = [targets, weights]
    .map((it) => tf.reshape(it, [logits.shape[0], 1]));
  return tf.sum(tf.mul(tf.square(tf.sub(logits, target!)), weight!));
};

/** What a language head gives for each token is its loss. */
const nextToken: Loss = (losses, _targets, weights) =>
  tf.sum(tf.mul(losses, tf.reshape(weights, losses.shape)));

/** The losses, of which a problem names its own. */
export const LOSSES = {
  "cross-entropy": crossEntropy,
  "squared-error": squaredError,
  "next-token": nextToken,
} as const;

export type LossName = keyof typeof LOSSES;

/**
 * The loss of a batch; at several ranks, the weighted sum of their losses.
 *
 * @param logits `[ranks * batch, outputs]`, one rank after the other
 * @param labels Class numbers or scores, float32 `[batch]`
 * @param rankWeights Weight of each rank's loss
 * @param weights Weight of each example's loss, `[batch]`; for the mean by default
 */
export function batchLoss(
  name: LossName,
  logits: tf.Tensor2D,
  labels: tf.Tensor1D,
  rankWeights: readonly number[] = [1],
  weights: tf.Tensor = tf.fill(labels.shape, 1 / labels.size),
): tf.Scalar {
  const loss = LOSSES[name];
  if (rankWeights.length === 1) return loss(logits, labels, weights);
  const byRank = tf.split(logits, rankWeights.length) as tf.Tensor2D[];
  return byRank
    .map((logits, i) =>
      tf.mul(loss(logits, labels, weights), rankWeights[i]!) as tf.Scalar
    )
    .reduce((sum, part) => tf.add(sum, part));
}
