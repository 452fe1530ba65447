import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import { withGradient } from "./gradient.ts";

/**
 * GELU of `x + bias`, `z Phi(z)` with the cumulative normal distribution
 * `Phi(z) = (1 + erf(z / sqrt 2)) / 2` (arXiv 1606.08415) or its approximation
 * by tanh (`gelu_new`), with its own gradient `Phi(z) + z Phi'(z)`. The bias is frozen.
 *
 * @param x `[rows, width]`
 * @param bias `[width]`
 */
export function biasGelu(
  x: tf.Tensor2D,
  bias: tf.Tensor1D,
  form?: "gelu" | "gelu_new",
): tf.Tensor2D {
  const { forward, backward } = form === "gelu_new" ? byTanh : exact;
  return withGradient(
    { x: x as tf.Tensor },
    ({ x }) => ({ value: forward({ x, bias }).value, saved: { x, bias } }),
    (dy, { x, bias }) => ({ x: backward({ dy, x, bias }).dx }),
  ) as tf.Tensor2D;
}

type Curve = (x: tf.Tensor) => tf.Tensor;

/** Both directions, of a cumulative distribution and its density. */
function gelu(cumulative: Curve, density: Curve) {
  return {
    forward: fused(({ x, bias }: Record<"x" | "bias", tf.Tensor>) => {
      const z = tf.add(x, bias);
      return { value: tf.mul(z, cumulative(z)) };
    }, { products: ["value"] }),
    backward: fused(
      ({ dy, x, bias }: Record<"dy" | "x" | "bias", tf.Tensor>) => {
        const z = tf.add(x, bias);
        return { dx: tf.mul(dy, tf.add(cumulative(z), tf.mul(z, density(z)))) };
      },
      { products: ["dx"] },
    ),
  };
}

const exact = gelu(cumulative, density);
const byTanh = gelu(
  (z) => tf.mul(tf.add(tf.tanh(inner(z)), 1), 0.5),
  (z) => {
    const slope = tf.add(tf.mul(tf.square(z), 3 * CUBIC), 1);
    const bend = tf.sub(1, tf.square(tf.tanh(inner(z))));
    return tf.mul(tf.mul(bend, slope), SCALE / 2);
  },
);

const SCALE = Math.sqrt(2 / Math.PI);
const CUBIC = 0.044715;

/** `sqrt(2 / pi) (z + 0.044715 z^3)` */
function inner(z: tf.Tensor): tf.Tensor {
  return tf.mul(tf.mul(z, tf.add(tf.mul(tf.square(z), CUBIC), 1)), SCALE);
}

/**
 * A gated unit (arXiv 2002.05202): `GELU(y1) y2` or `SiLU(y1) y2` of the halves
 * of `x + bias`, with its own gradient. The bias is frozen. SiLU is `z` times
 * the cumulative logistic distribution, as GELU is of the normal one.
 *
 * @param x `[rows, 2 * width]`
 * @param bias `[2 * width]`
 * @returns `[rows, width]`
 */
export function biasGlu(
  x: tf.Tensor2D,
  bias: tf.Tensor1D | undefined,
  form: "gelu" | "silu",
): tf.Tensor2D {
  const { forward, backward } = GATED[form];
  return withGradient(
    { x: x as tf.Tensor },
    ({ x }) => ({ value: forward({ x, bias }).value, saved: { x, bias } }),
    (dy, { x, bias }) => ({ x: backward({ dy, x, bias }).dx }),
  ) as tf.Tensor2D;
}

interface GluInputs {
  readonly [name: string]: tf.Tensor | undefined;
  readonly x: tf.Tensor;
  readonly bias: tf.Tensor | undefined;
}

/** Both directions, of a cumulative distribution and its density. */
function glu(cumulative: Curve, density: Curve) {
  return {
    forward: fused(({ x, bias }: GluInputs) => {
      const [z, gate] = halves(x, bias);
      return { value: tf.mul(tf.mul(z, cumulative(z)), gate) };
    }, { products: ["value"] }),
    backward: fused(
      ({ dy, x, bias }: GluInputs & { readonly dy: tf.Tensor }) => {
        const [z, gate] = halves(x, bias);
        const phi = cumulative(z);
        const dz = tf.mul(
          tf.mul(dy, gate),
          tf.add(phi, tf.mul(z, density(z))),
        );
        return { dx: tf.concat([dz, tf.mul(dy, tf.mul(z, phi))], -1) };
      },
      { products: ["dx"] },
    ),
  };
}

const GATED = {
  gelu: glu(cumulative, density),
  silu: glu(
    tf.sigmoid,
    (z) => tf.mul(tf.sigmoid(z), tf.sub(1, tf.sigmoid(z))),
  ),
};

function halves(
  x: tf.Tensor,
  bias: tf.Tensor | undefined,
): [tf.Tensor, tf.Tensor] {
  const y = bias === undefined ? x : tf.add(x, bias);
  const [rows, width] = y.shape as [number, number];
  const half = width / 2;
  return [
    tf.slice(y, [0, 0], [rows, half]),
    tf.slice(y, [0, half], [rows, half]),
  ];
}

/** Cumulative distribution function of the standard normal distribution. */
function cumulative(x: tf.Tensor): tf.Tensor {
  return tf.add(tf.mul(tf.erf(tf.mul(x, Math.SQRT1_2)), 0.5), 0.5);
}

/** Density of the standard normal distribution. */
function density(x: tf.Tensor): tf.Tensor {
  return tf.mul(
    tf.exp(tf.mul(tf.square(x), -0.5)),
    1 / Math.sqrt(2 * Math.PI),
  );
}
