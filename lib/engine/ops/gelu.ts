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
 * @param form Phi: the normal distribution (arXiv 1606.08415), its
 * approximation by tanh, or the logistic one
 * @param unit `gated`: of the first half of each row, times the other half
 * (arXiv 2002.05202)
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
    () => ({ ...forward({ x, bias }), x, bias }),
    (dy, inputs) => ({ x: backward({ dy, ...inputs }).dx }),
  ) as tf.Tensor2D;
}

interface Inputs {
  readonly x: tf.Tensor;
  readonly bias: tf.Tensor | undefined;
}

type Curve = (z: tf.Tensor) => tf.Tensor;

/** An activation `z Phi(z)` by its cumulative distribution and its slope. */
function activationBy(cumulative: Curve, slope: Curve) {
  const unit = (split: (y: tf.Tensor) => [z: tf.Tensor, gate?: tf.Tensor]) => {
    const parts = ({ x, bias }: Inputs) =>
      split(bias === undefined ? x : x.add(bias));
    return {
      forward: fused((inputs: Inputs) => {
        const [z, gate] = parts(inputs);
        const value: tf.Tensor = z.mul(cumulative(z));
        return { value: gate === undefined ? value : value.mul(gate) };
      }, { bfloat16: ["value"] }),
      backward: fused(
        ({ dy, ...inputs }: Inputs & { readonly dy: tf.Tensor }) => {
          const [z, gate] = parts(inputs);
          if (gate === undefined) return { dx: dy.mul(slope(z)) };
          const dz = dy.mul(gate).mul(slope(z));
          const dGate = dy.mul(z.mul(cumulative(z)));
          return { dx: tf.concat([dz, dGate], -1) };
        },
        { bfloat16: ["dx"] },
      ),
    };
  };
  return { plain: unit((y) => [y]), gated: unit(halves) };
}

function halves(y: tf.Tensor): [tf.Tensor, tf.Tensor] {
  const [rows, width] = y.shape as [number, number];
  const half = [rows, width / 2];
  return [y.slice([0, 0], half), y.slice([0, width / 2], half)];
}

const SCALE = Math.sqrt(2 / Math.PI);
const CUBIC = 0.044715;

/** `sqrt(2 / pi) (z + 0.044715 z^3)` */
function inner(z: tf.Tensor): tf.Tensor {
  return z.mul(z.square().mul(CUBIC).add(1)).mul(SCALE);
}

/** `(1 + tanh(inner(z))) / 2` */
function byTanh(z: tf.Tensor): tf.Tensor {
  return inner(z).tanh().add(1).mul(0.5);
}

/** `(1 + erf(z / sqrt 2)) / 2` */
function normalCdf(z: tf.Tensor): tf.Tensor {
  return z.mul(Math.SQRT1_2).erf().mul(0.5).add(0.5);
}

/** Beyond it, the slope of GELU is 0 or 1 to 4e-7. */
const BOUND = 5.6;
const NUMERATOR = [
  0.79788534,
  -0.030975029,
  0.014226048,
  1.9757503e-5,
  3.5899255e-5,
  1.921661e-7,
];
const DENOMINATOR = [
  1,
  0.29451999,
  0.040983859,
  0.0035226486,
  1.9205386e-4,
  8.9281315e-6,
];

/**
 * Slope of GELU, `Phi(z) + z Phi'(z)`; in a compiled loop as
 * `1/2 + z P(z^2) / Q(z^2)`, a minimax approximation which is off by 3.4e-7 in
 * float32, and takes half the time of an error function and an exponential.
 */
function geluSlope(z: tf.Tensor): tf.Tensor {
  if (!isLoop(z)) {
    const bell = z.square().mul(-0.5).exp();
    const density = bell.mul(1 / Math.sqrt(2 * Math.PI));
    return normalCdf(z).add(z.mul(density));
  }
  const x = z.clipByValue(-BOUND, BOUND);
  const square = x.square();
  const polynomial = (factors: readonly number[]) =>
    factors.slice(0, -1).reduceRight<tf.Tensor>(
      (sum, factor) => sum.mul(square).add(factor),
      tf.scalar(factors.at(-1)!),
    );
  const numerator = polynomial(NUMERATOR);
  const denominator = polynomial(DENOMINATOR);
  return x.mul(numerator.div(denominator)).add(0.5);
}

const ACTIVATIONS = {
  gelu: activationBy(normalCdf, geluSlope),
  gelu_new: activationBy(byTanh, (z) => {
    const slope = z.square().mul(3 * CUBIC).add(1);
    const bend = tf.sub(1, inner(z).tanh().square());
    const density = bend.mul(slope).mul(SCALE / 2);
    return byTanh(z).add(z.mul(density));
  }),
  silu: activationBy((z) => z.sigmoid(), (z) => {
    const phi = z.sigmoid();
    return phi.add(z.mul(phi.mul(tf.sub(1, phi))));
  }),
};
