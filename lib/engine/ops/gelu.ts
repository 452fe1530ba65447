import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import { withGradient } from "./gradient.ts";
import { isLoop } from "./reduce.ts";

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

/** An activation `z Phi(z)` by its cumulative distribution and its slope. */
function activationBy(cumulative: Curve, slope: Curve) {
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
          if (gate === undefined) return { dx: tf.mul(dy, slope(z)) };
          const dz = tf.mul(tf.mul(dy, gate), slope(z));
          const dGate = tf.mul(dy, tf.mul(z, cumulative(z)));
          return { dx: tf.concat([dz, dGate], -1) };
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

/** `(1 + tanh(inner(z))) / 2` */
function byTanh(z: tf.Tensor): tf.Tensor {
  return tf.mul(tf.add(tf.tanh(inner(z)), 1), 0.5);
}

/** `(1 + erf(z / sqrt 2)) / 2` */
function normalCdf(z: tf.Tensor): tf.Tensor {
  return tf.add(tf.mul(tf.erf(tf.mul(z, Math.SQRT1_2)), 0.5), 0.5);
}

/** Beyond it, the slope of GELU is 0 or 1 to 4e-7. */
const BOUND = 5.6;
const NUMERATOR = [
  ...[0.79788534, -0.030975029, 0.014226048],
  ...[1.9757503e-5, 3.5899255e-5, 1.921661e-7],
];
const DENOMINATOR = [
  ...[1, 0.29451999, 0.040983859],
  ...[0.0035226486, 1.9205386e-4, 8.9281315e-6],
];

/**
 * Slope of GELU, `Phi(z) + z Phi'(z)`; in a compiled loop as
 * `1/2 + z P(z^2) / Q(z^2)`, a minimax approximation which is off by 3.4e-7 in
 * float32, and takes half the time of an error function and an exponential.
 */
function geluSlope(z: tf.Tensor): tf.Tensor {
  if (!isLoop(z)) {
    const bell = tf.exp(tf.mul(tf.square(z), -0.5));
    const density = tf.mul(bell, 1 / Math.sqrt(2 * Math.PI));
    return tf.add(normalCdf(z), tf.mul(z, density));
  }
  const x = tf.clipByValue(z, -BOUND, BOUND);
  const square = tf.square(x);
  const [p, q] = [NUMERATOR, DENOMINATOR].map((factors) =>
    factors.slice(0, -1).reduceRight<tf.Tensor>(
      (sum, factor) => tf.add(tf.mul(sum, square), factor),
      tf.scalar(factors.at(-1)!),
    )
  );
  return tf.add(tf.mul(x, tf.div(p!, q!)), 0.5);
}

const ACTIVATIONS = {
  gelu: activationBy(normalCdf, geluSlope),
  gelu_new: activationBy(byTanh, (z) => {
    const slope = tf.add(tf.mul(tf.square(z), 3 * CUBIC), 1);
    const bend = tf.sub(1, tf.square(tf.tanh(inner(z))));
    const density = tf.mul(tf.mul(bend, slope), SCALE / 2);
    return tf.add(byTanh(z), tf.mul(z, density));
  }),
  silu: activationBy(
    (z) => tf.sigmoid(z),
    (z) => {
      const phi = tf.sigmoid(z);
      return tf.add(phi, tf.mul(z, tf.mul(phi, tf.sub(1, phi))));
    },
  ),
};
