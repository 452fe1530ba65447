import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import { withGradient } from "./gradient.ts";

/**
 * GELU of `x + bias` in its exact form, `z Phi(z)` with
 * `Phi(z) = (1 + erf(z / sqrt 2)) / 2` (arXiv 1606.08415), with its own
 * gradient `Phi(z) + z phi(z)`. The bias is frozen.
 *
 * @param x `[rows, width]`
 * @param bias `[width]`
 */
export function biasGelu(x: tf.Tensor2D, bias: tf.Tensor1D): tf.Tensor2D {
  return withGradient(
    { x: x as tf.Tensor },
    ({ x }) => ({ value: forward({ x, bias }).value, saved: { x, bias } }),
    (dy, { x, bias }) => ({ x: backward({ dy, x, bias }).dx }),
  ) as tf.Tensor2D;
}

const forward = fused(({ x, bias }: Record<"x" | "bias", tf.Tensor>) => {
  const z = tf.add(x, bias);
  return { value: tf.mul(z, cumulative(z)) };
}, { products: ["value"] });

const backward = fused(
  ({ dy, x, bias }: Record<"dy" | "x" | "bias", tf.Tensor>) => {
    const z = tf.add(x, bias);
    const density = tf.mul(
      tf.exp(tf.mul(tf.square(z), -0.5)),
      1 / Math.sqrt(2 * Math.PI),
    );
    return { dx: tf.mul(dy, tf.add(cumulative(z), tf.mul(z, density))) };
  },
  { products: ["dx"] },
);

/** Cumulative distribution function of the standard normal distribution. */
function cumulative(x: tf.Tensor): tf.Tensor {
  return tf.add(tf.mul(tf.erf(tf.mul(x, Math.SQRT1_2)), 0.5), 0.5);
}
