import * as tf from "@tensorflow/tfjs-core";
import { withGradient } from "./gradient.ts";
import {
  cosent,
  multipleNegativesRanking,
  multipleNegativesSymmetricRanking,
} from "./similarity_loss.ts";

/** A loss, of which a problem names its own. */
export interface Loss {
  /**
   * Weighted sum of the losses of some units.
   *
   * @param outputs What the head gives for them,
   * `[units * sequencesPerExample, outputs]`: of examples of several sequences,
   * those of one example follow
   * each other
   * @param targets Float32, `[units, width]`, or flat if the width is 1
   * @param weights Weight of each unit, float32 `[units]`
   * @param classWeights Of the positive targets of each class, if
   * {@linkcode weighted} says so
   */
  readonly sum: (
    outputs: tf.Tensor2D,
    targets: tf.Tensor,
    weights: tf.Tensor,
    classWeights?: readonly number[],
  ) => tf.Scalar;
  /**
   * What a weight of a class is of: a unit of the class, in the weighted mean,
   * or the class's positive targets.
   */
  readonly weighted?: "units" | "positives";
  /**
   * True if the loss of an example depends on the others of its batch, as with
   * negatives within the batch. A batch then is one shard and one part, so that
   * the loss and its gradient are those of the whole batch, at the price of
   * memory; each batch of an accumulation is one of its own.
   */
  readonly seesBatch?: true;
}

/**
 * The cross-entropy, in nats, of class numbers or of the probabilities of all
 * classes, with its own gradient `(softmax(logits) - targets) * weights`.
 */
const crossEntropy: Loss["sum"] = (logits, targets, weights) => {
  const [batch, classes] = logits.shape;
  const target = targets.size === batch
    ? tf.oneHot(targets.reshape([batch]).cast("int32"), classes)
    : targets;
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

/**
 * The mean over the classes of the cross-entropies of sigmoids, in nats, as
 * PyTorch's `BCEWithLogitsLoss(pos_weight=)`, with its own gradient.
 */
const binaryCrossEntropy: Loss["sum"] = (
  logits,
  targets,
  weights,
  classWeights,
) => {
  const [batch, classes] = logits.shape;
  const target = targets.reshape<tf.Tensor2D>([batch, classes]);
  const weight = weights.reshape([batch, 1]).div(classes);
  const positive = classWeights === undefined
    ? target
    : target.mul(tf.tensor2d([...classWeights], [1, classes]));
  return withGradient({ logits }, () => {
    // log(1 + exp(-|x|)) neither overflows nor loses digits.
    const rest = logits.abs().neg().exp().log1p();
    const ofPositive = logits.neg().relu().add(rest);
    const ofNegative = logits.relu().add(rest);
    const losses = positive.mul(ofPositive)
      .add(tf.sub(1, target).mul(ofNegative));
    const value = losses.mul(weight).sum();
    return { value, logits, target, positive, weight };
  }, (dy, { logits, target, positive, weight }) => {
    const probability = logits.sigmoid();
    const gradient = probability.mul(tf.sub(1, target))
      .sub(positive.mul(tf.sub(1, probability)));
    return { logits: gradient.mul(weight).mul(dy) };
  }) as tf.Scalar;
};

const squaredError: Loss["sum"] = (logits, targets, weights) => {
  const shape: [number, number] = [logits.shape[0], 1];
  const target = targets.reshape(shape);
  return logits.sub(target).square().mul(weights.reshape(shape)).sum();
};

/** What a language head gives for each token is its loss. */
const nextToken: Loss["sum"] = (losses, _targets, weights) =>
  losses.mul(weights.reshape(losses.shape)).sum();

/** The losses by name. */
export const LOSSES = {
  "cross-entropy": { sum: crossEntropy, weighted: "units" },
  "binary-cross-entropy": { sum: binaryCrossEntropy, weighted: "positives" },
  "squared-error": { sum: squaredError },
  "next-token": { sum: nextToken },
  cosent: { sum: cosent, seesBatch: true },
  "multiple-negatives-ranking": {
    sum: multipleNegativesRanking,
    seesBatch: true,
  },
  "multiple-negatives-symmetric-ranking": {
    sum: multipleNegativesSymmetricRanking,
    seesBatch: true,
  },
} as const satisfies Readonly<Record<string, Loss>>;

export type LossName = keyof typeof LOSSES;

/** The loss of this name. */
export function lossNamed(name: LossName): Loss {
  return LOSSES[name];
}

/**
 * Weight of each unit, `[units]`: 0 without a target, which NaN marks; that of
 * its class where the loss has such weights; otherwise 1.
 *
 * @param targets `[units, width]`, flat
 */
export function unitWeights(
  name: LossName,
  targets: Float32Array,
  width: number,
  classWeights: readonly number[] | undefined,
): Float64Array {
  const ofUnits = lossNamed(name).weighted === "units"
    ? classWeights
    : undefined;
  return Float64Array.from({ length: targets.length / width }, (_, unit) => {
    const first = targets[unit * width]!;
    return Number.isNaN(first) ? 0 : ofUnits?.[first] ?? 1;
  });
}

/**
 * The loss of a batch; at several ranks, the weighted sum of their losses.
 *
 * @param outputs `[ranks * units * sequencesPerExample, outputs]`, one rank
 * after the other
 * @param targets Float32 `[units, width]`, or `[units]`
 * @param rankWeights Weight of each rank's loss
 * @param weights Weight of each unit's loss, `[units]`; for the mean by default
 * @param classWeights As {@linkcode Loss.sum} takes them
 */
export function batchLoss(
  name: LossName,
  outputs: tf.Tensor2D,
  targets: tf.Tensor,
  rankWeights: readonly number[] = [1],
  weights: tf.Tensor = tf.fill([targets.shape[0]!], 1 / targets.shape[0]!),
  classWeights?: readonly number[],
): tf.Scalar {
  const loss = lossNamed(name);
  if (rankWeights.length === 1) {
    return loss.sum(outputs, targets, weights, classWeights);
  }
  return outputs.split<tf.Tensor2D>(rankWeights.length)
    .map((outputs, i) =>
      loss.sum(outputs, targets, weights, classWeights)
        .mul<tf.Scalar>(rankWeights[i]!)
    )
    .reduce((sum, part) => sum.add(part));
}
