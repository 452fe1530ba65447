import * as tf from "@tensorflow/tfjs-core";

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
  return tf.customGrad((input, save) => {
    const shifted = tf.sub(
      input as tf.Tensor,
      tf.max(input as tf.Tensor, -1, true),
    );
    const logSum = tf.log(tf.sum(tf.exp(shifted), -1, true));
    const logProbability = tf.sub(shifted, logSum);
    (save as tf.GradSaveFunc)([logProbability, target]);
    return {
      value: tf.mul(tf.sum(tf.mul(logProbability, target)), -1 / batch),
      gradFunc: (dy: tf.Tensor, [saved, target]: tf.Tensor[]) =>
        tf.mul(tf.mul(tf.sub(tf.exp(saved!), target!), 1 / batch), dy),
    };
  })(logits) as tf.Scalar;
}

/**
 * Mean squared error of a batch, with its own gradient.
 *
 * @param logits `[batch, 1]`
 * @param labels Scores, float32 `[batch]`
 */
export function squaredError(
  logits: tf.Tensor2D,
  labels: tf.Tensor1D,
): tf.Scalar {
  const batch = logits.shape[0];
  const target = tf.reshape(labels, [batch, 1]);
  return tf.customGrad((input, save) => {
    const difference = tf.sub(input as tf.Tensor, target);
    (save as tf.GradSaveFunc)([difference]);
    return {
      value: tf.mul(tf.sum(tf.square(difference)), 1 / batch),
      gradFunc: (dy: tf.Tensor, [saved]: tf.Tensor[]) =>
        tf.mul(tf.mul(saved!, 2 / batch), dy),
    };
  })(logits) as tf.Scalar;
}
