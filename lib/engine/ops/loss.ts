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
    : tf.oneHot(targets.cast("int32"), classes);
  const weight = weights.reshape([batch, 1]);
  return withGradient({ logits }, () => {
    const shifted: tf.Tensor = logits.sub(logits.max(-1, true));
    const logProbability = shifted.sub(shifted.exp().sum(-1, true).log());
    const value = logProbability.mul(target).mul(weight).sum().mul(-1);
    return { value, logProbability, target, weight };
  }, (dy, { logProbability, target, weight }) => ({
    logits: logProbability.exp().sub(target).mul(weight).mul(dy),
  })) as tf.Scalar;
};

const squaredError: Loss = (logits, targets, weights) => {
  const [target, weight] = [targets, weights]
    .map((it) => it.reshape([logits.shape[0], 1]));
  return logits.sub(target!).square().mul(weight!).sum();
};

/** What a language head gives for each token is its loss. */
const nextToken: Loss = (losses, _targets, weights) =>
  losses.mul(weights.reshape(losses.shape)).sum();

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
  return logits.split<tf.Tensor2D>(rankWeights.length)
    .map((logits, i) =>
      loss(logits, labels, weights).mul<tf.Scalar>(rankWeights[i]!)
    )
    .reduce((sum, part) => sum.add(part));
}
