import * as tf from "@tensorflow/tfjs-core";
import { withGradient } from "./gradient.ts";

/** A frozen weight `[out, in]`. It is read again for the gradient, since a part of a larger weight does not outlive the pass. */
export interface FrozenWeight {
  readonly weight: tf.Tensor2D;
}

/** A linear module, as PyTorch stores it. */
export interface Linear {
  /** `[out, in]` */
  readonly weight: tf.Tensor2D;
  /** `[out]` */
  readonly bias: tf.Tensor1D | undefined;
}

/**
 * `x W^T` with W frozen: only `x` gets a gradient.
 *
 * @param x `[rows, in]`
 * @returns `[rows, out]`
 */
export function frozenProduct(
  x: tf.Tensor2D,
  frozen: FrozenWeight,
): tf.Tensor2D {
  return withGradient(
    { x: x as tf.Tensor },
    ({ x }) => ({ value: tf.matMul(x, frozen.weight, false, true), saved: {} }),
    (dy) => ({ x: tf.matMul(dy, frozen.weight) }),
  ) as tf.Tensor2D;
}

/** `x W^T + b` with gradients of x, W and b. */
export function trainedLinear(
  x: tf.Tensor2D,
  { weight, bias }: Linear,
): tf.Tensor2D {
  const product: tf.Tensor2D = tf.matMul(x, weight, false, true);
  return bias === undefined ? product : tf.add(product, bias);
}
