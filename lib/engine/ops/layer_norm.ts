import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import {
  drawDropout,
  drop,
  type DropoutDraw,
  type DropoutSource,
} from "./dropout.ts";
import { withGradient } from "./gradient.ts";

/** A layer normalization (arXiv 1607.06450). */
export interface LayerNorm {
  /** `[hidden]` */
  readonly gamma: tf.Tensor1D;
  /** `[hidden]` */
  readonly beta: tf.Tensor1D;
  readonly epsilon: number;
}

/**
 * End of a post-norm sub-layer: `LayerNorm(dropout(x + bias) + residual)`, with
 * bias and normalization frozen, and with its own gradient.
 *
 * @param x `[rows, hidden]`
 * @param bias `[hidden]`
 * @param residual `[rows, hidden]`
 */
export function addAndNorm(
  x: tf.Tensor2D,
  bias: tf.Tensor1D,
  residual: tf.Tensor2D,
  { gamma, beta, epsilon }: LayerNorm,
  source: DropoutSource | undefined,
): tf.Tensor2D {
  const draw = drawDropout(source);
  return withGradient(
    { x, residual } as Record<"x" | "residual", tf.Tensor>,
    ({ x, residual }) => {
      const { value, sum, mean, scale } = forward({
        x,
        bias,
        residual,
        gamma,
        beta,
        epsilon: tf.scalar(epsilon),
        ...draw,
      });
      return { value, saved: { gamma, sum, mean, scale, ...draw } };
    },
    (dy, saved) => {
      const { dx, dSum } = backward({ dy, ...saved });
      return { x: dx, residual: dSum };
    },
  ) as tf.Tensor2D;
}

type Names<Name extends string> =
  & DropoutDraw
  & Readonly<
    Record<Name, tf.Tensor>
  >;

const forward = fused((
  { x, bias, residual, gamma, beta, epsilon, ...draw }: Names<
    "x" | "bias" | "residual" | "gamma" | "beta" | "epsilon"
  >,
) => {
  const sum = tf.add(drop(tf.add(x, bias), draw), residual);
  const norm = { gamma, beta, epsilon };
  const { value, mean, scale } = normalized(sum, norm);
  return { value, sum, mean, scale };
});

/**
 * `dx = s (g - mean(g) - n mean(g n))`, where `n` is the normalized input,
 * `s = 1 / sqrt(var + epsilon)` and `g = dy gamma`; the dropout mask is applied
 * to `dx` as well.
 */
const backward = fused((
  { dy, gamma, sum, mean, scale, ...draw }: Names<
    "dy" | "gamma" | "sum" | "mean" | "scale"
  >,
) => {
  const dSum = normGradient({ dy, gamma, sum, mean, scale });
  return { dx: drop(dSum, draw), dSum };
}, { products: ["dx"] });

function normGradient(
  { dy, gamma, sum, mean, scale }: Record<
    "dy" | "gamma" | "sum" | "mean" | "scale",
    tf.Tensor
  >,
): tf.Tensor {
  const n = normalize(sum, mean, scale);
  const g = tf.mul(dy, gamma);
  const projection = tf.mul(n, tf.mean(tf.mul(g, n), -1, true));
  return tf.mul(tf.sub(tf.sub(g, tf.mean(g, -1, true)), projection), scale);
}

/**
 * Layer normalization with frozen scale and shift, and with its own gradient.
 *
 * @param x `[rows, hidden]`
 */
export function layerNorm(
  x: tf.Tensor2D,
  { gamma, beta, epsilon }: LayerNorm,
): tf.Tensor2D {
  return withGradient(
    { x: x as tf.Tensor },
    ({ x }) => {
      const { value, mean, scale } = normOnly({
        x,
        gamma,
        beta,
        epsilon: tf.scalar(epsilon),
      });
      return { value, saved: { gamma, sum: x, mean, scale } };
    },
    (dy, saved) => ({ x: normBackward({ dy, ...saved }).dx }),
  ) as tf.Tensor2D;
}

const normOnly = fused((
  { x, ...norm }: Names<"x" | "gamma" | "beta" | "epsilon">,
) => normalized(x, norm), { products: ["value"] });

const normBackward = fused((
  inputs: Names<"dy" | "gamma" | "sum" | "mean" | "scale">,
) => ({ dx: normGradient(inputs) }));

/**
 * Layer normalization of the sum of frozen tensors, then dropout. It has no
 * gradient, since nothing below is trained.
 *
 * @param parts Each `[rows, hidden]`
 */
export function normFrozen(
  parts: readonly tf.Tensor2D[],
  { gamma, beta, epsilon }: LayerNorm,
  source: DropoutSource | undefined,
): tf.Tensor2D {
  const sum = parts.reduce((sum, part) => tf.add(sum, part));
  const draw = drawDropout(source);
  return withGradient(
    { sum: sum as tf.Tensor },
    ({ sum }) => ({
      value: normThenDrop({
        x: sum,
        gamma,
        beta,
        epsilon: tf.scalar(epsilon),
        ...draw,
      }).value,
      saved: {},
    }),
    () => {
      throw new Error("Frozen embeddings have no gradient");
    },
  ) as tf.Tensor2D;
}

const normThenDrop = fused((
  { x, gamma, beta, epsilon, ...draw }: Names<
    "x" | "gamma" | "beta" | "epsilon"
  >,
) => ({
  value: drop(normalized(x, { gamma, beta, epsilon }).value, draw),
}));

/** Layer normalization with gradients of its input and of its scale and shift. */
export function trainedLayerNorm(x: tf.Tensor2D, norm: LayerNorm): tf.Tensor2D {
  return scaled(layerNorm(x, unscaled(norm)), norm);
}

/**
 * `LayerNorm(dropout(x) + residual)` with gradients of both inputs and of the
 * normalization's two tensors.
 */
export function trainedNorm(
  x: tf.Tensor2D,
  residual: tf.Tensor2D,
  norm: LayerNorm,
  source: DropoutSource | undefined,
): tf.Tensor2D {
  const plain = unscaled(norm);
  return scaled(addAndNorm(x, plain.beta, residual, plain, source), norm);
}

/** A normalization to mean 0 and variance 1. */
function unscaled({ gamma, epsilon }: LayerNorm): LayerNorm {
  const ones: tf.Tensor1D = tf.ones(gamma.shape);
  return { gamma: ones, beta: tf.zeros(gamma.shape), epsilon };
}

function scaled(x: tf.Tensor2D, { gamma, beta }: LayerNorm): tf.Tensor2D {
  return tf.add(tf.mul(x, gamma), beta);
}

/** The normalized rows; the mean of each, and one over its standard deviation, `[rows, 1]`. */
function normalized(
  x: tf.Tensor,
  { gamma, beta, epsilon }: Record<"gamma" | "beta" | "epsilon", tf.Tensor>,
) {
  const mean = tf.mean(x, -1, true);
  const variance = tf.mean(tf.square(tf.sub(x, mean)), -1, true);
  const scale = tf.rsqrt(tf.add(variance, epsilon));
  const value = tf.add(tf.mul(normalize(x, mean, scale), gamma), beta);
  return { value, mean, scale };
}

function normalize(
  x: tf.Tensor,
  mean: tf.Tensor,
  scale: tf.Tensor,
): tf.Tensor {
  return tf.mul(tf.sub(x, mean), scale);
}
