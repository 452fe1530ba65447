import * as tf from "@tensorflow/tfjs-core";

/** A frozen affine map, as PyTorch stores it. */
export interface Linear {
  /** `[out, in]` */
  readonly weight: tf.Tensor2D;
  /** `[out]` */
  readonly bias: tf.Tensor1D;
}

/**
 * `x W^T` with W frozen: its gradient is that of `x` alone.
 *
 * @param x `[rows, in]`
 * @param weight `[out, in]`
 * @returns `[rows, out]`
 */
export function frozenProduct(
  x: tf.Tensor2D,
  weight: tf.Tensor2D,
): tf.Tensor2D {
  return tf.customGrad((input) => ({
    value: tf.matMul(input as tf.Tensor2D, weight, false, true),
    gradFunc: (dy: tf.Tensor) => tf.matMul(dy as tf.Tensor2D, weight),
  }))(x) as tf.Tensor2D;
}

/** `x W^T + b` with W and b frozen. */
export function linear(x: tf.Tensor2D, { weight, bias }: Linear): tf.Tensor2D {
  return tf.add(frozenProduct(x, weight), bias);
}
