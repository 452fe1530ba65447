import * as tf from "@tensorflow/tfjs-core";

/**
 * GELU in its exact form, `x Phi(x)` with `Phi(x) = (1 + erf(x / sqrt 2)) / 2`
 * (arXiv 1606.08415), with its own gradient `Phi(x) + x phi(x)`.
 */
export function gelu<T extends tf.Tensor>(x: T): T {
  return tf.customGrad((input, save) => {
    const phi = cumulative(input as tf.Tensor);
    (save as tf.GradSaveFunc)([input as tf.Tensor, phi]);
    return {
      value: tf.mul(input as tf.Tensor, phi),
      gradFunc: (dy: tf.Tensor, [saved, Phi]: tf.Tensor[]) => {
        const density = tf.mul(
          tf.exp(tf.mul(tf.square(saved!), -0.5)),
          1 / Math.sqrt(2 * Math.PI),
        );
        return tf.mul(dy, tf.add(Phi!, tf.mul(saved!, density)));
      },
    };
  })(x) as T;
}

/** Cumulative distribution function of the standard normal distribution. */
function cumulative(x: tf.Tensor): tf.Tensor {
  return tf.add(tf.mul(tf.erf(tf.mul(x, Math.SQRT1_2)), 0.5), 0.5);
}
