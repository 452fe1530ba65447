import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import { withGradient } from "./gradient.ts";

/**
 * An activation of `z = x + bias`, `z Phi(z)` with a cumulative distribution
 * Phi, with its own gradient `Phi(z) + z Phi'(z)`. The bias is frozen.
 *
 * @param x `[rows, width]`
 * @param bias `[width]`
 * @param form Phi: the normal distribution (arXiv 1606.08415), its approximation by tanh, or the logistic one
 * @param unit `gated`: of the first half of each row, times the other half (arXiv 2002.05202)
 * @returns `[rows, width]`, or gated `[rows, width / 2]`
 */
export function activation(
  x: tf.Tensor2D,
  bias: tf.Tensor1D | undefined,
  form: keyof typeof ACTIVATIONS = "gelu",
  unit: "plain" | "gated" = "plain",
): tf.Tensor2D {
  const { forward, backward } = ACTIVATIONS[form][unit];
  return withGradient(
    { x },
    () => ({ value: forward({ x, bias }).value, saved: { x, bias } }),
    (dy, { x, bias }) => ({ x: backward({ dy, x, bias }).dx }),
  ) as tf.Tensor2D;
}

interface Inputs {
  readonly [name: string]: tf.Tensor | undefined;
  readonly x: tf.Tensor;
  readonly bias: tf.Tensor | undefined;
}

type Curve = (z: tf.Tensor) => tf.Tensor;

/** An activation by its cumulative distribution and the density of that. */
function activationBy(cumulative: Curve, density: Curve) {
  const unit = (split: (y: tf.Tensor) => [z: tf.Tensor, gate?: tf.Tensor]) => {
    const parts = ({ x, bias }: Inputs) =>
      split(bias === undefined ? x : tf.add(x, bias));
    return {
      forward: fused((inputs: Inputs) => {
        const [z, gate] = parts(inputs);
        const value = tf.mul(z, cumulative(z));
        return { value: gate === undefined ? value : tf.mul(value, gate) };
      }, { products: ["value"] }),
      backward: fused(
        ({ dy, ...inputs }: Inputs & { readonly dy: tf.Tensor }) => {
          const [z, gate] = parts(inputs);
          const phi = cumulative(z);
          const slope = tf.add(phi, tf.mul(z, density(z)));
          if (gate === undefined) return { dx: tf.mul(dy, slope) };
          const dz = tf.mul(tf.mul(dy, gate), slope);
          return { dx: tf.concat([dz, tf.mul(dy, tf.mul(z, phi))], -1) };
        },
        { products: ["dx"] },
      ),
    };
  };
  return { plain: unit((y) => [y]), gated: unit(halves) };
}

function halves(y: tf.Tensor): [tf.Tensor, tf.Tensor] {
  const [rows, width] = y.shape as [number, number];
  const half = width / 2;
  return [
    tf.slice(y, [0, 0], [rows, half]),
    tf.slice(y, [0, half], [rows, half]),
  ];
}

const SCALE = Math.sqrt(2 / Math.PI);
const CUBIC = 0.044715;

/** `sqrt(2 / pi) (z + 0.044715 z^3)` */
function inner(z: tf.Tensor): tf.Tensor {
  return tf.mul(tf.mul(z, tf.add(tf.mul(tf.square(z), CUBIC), 1)), SCALE);
}

const ACTIVATIONS = {
  gelu: activationBy(
    (z) => tf.add(tf.mul(tf.erf(tf.mul(z, Math.SQRT1_2)), 0.5), 0.5),
    (z) =>
      tf.mul(tf.exp(tf.mul(tf.square(z), -0.5)), 1 / Math.sqrt(2 * Math.PI)),
  ),
  gelu_new: activationBy(
    (z) => tf.mul(tf.add(tf.tanh(inner(z)), 1), 0.5),
    (z) => {
      const slope = tf.add(tf.mul(tf.square(z), 3 * CUBIC), 1);
      const bend = tf.sub(1, tf.square(tf.tanh(inner(z))));
      return tf.mul(tf.mul(bend, slope), SCALE / 2);
    },
  ),
  silu: activationBy(
    (z) => tf.sigmoid(z),
    (z) => tf.mul(tf.sigmoid(z), tf.sub(1, tf.sigmoid(z))),
  ),
};
