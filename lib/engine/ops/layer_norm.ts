import * as tf from "@tensorflow/tfjs-core";

/** A frozen layer normalization. */
export interface LayerNorm {
  /** `[hidden]` */
  readonly gamma: tf.Tensor1D;
  /** `[hidden]` */
  readonly beta: tf.Tensor1D;
  readonly epsilon: number;
}

/**
 * Layer normalization over the last axis with gamma and beta frozen
 * (arXiv 1607.06450), with its own gradient:
 * `dx = s (g - mean(g) - n mean(g n))`, where `n` is the normalized input,
 * `s = 1 / sqrt(var + epsilon)` and `g = dy gamma`.
 *
 * @param x `[rows, hidden]`
 */
export function layerNorm(
  x: tf.Tensor2D,
  { gamma, beta, epsilon }: LayerNorm,
): tf.Tensor2D {
  return tf.customGrad((input, save) => {
    const centered = tf.sub(
      input as tf.Tensor2D,
      tf.mean(input as tf.Tensor2D, -1, true),
    );
    const scale = tf.rsqrt(
      tf.add(tf.mean(tf.square(centered), -1, true), epsilon),
    );
    const normalized = tf.mul(centered, scale);
    (save as tf.GradSaveFunc)([normalized, scale]);
    return {
      value: tf.add(tf.mul(normalized, gamma), beta),
      gradFunc: (dy: tf.Tensor, [n, s]: tf.Tensor[]) => {
        const g = tf.mul(dy, gamma);
        const projection = tf.mul(n!, tf.mean(tf.mul(g, n!), -1, true));
        return tf.mul(tf.sub(tf.sub(g, tf.mean(g, -1, true)), projection), s!);
      },
    };
  })(x) as tf.Tensor2D;
}
