import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import {
  drawDropout,
  drop,
  type DropoutDraw,
  type DropoutSource,
} from "./dropout.ts";
import { withGradient } from "./gradient.ts";

/** A layer normalization (arXiv 1607.06450), or one by the root mean square (arXiv 1910.07467). */
export interface LayerNorm {
  /** `[hidden]` */
  readonly gamma: tf.Tensor1D;
  /** `[hidden]`; undefined for the root mean square, which neither subtracts the mean nor shifts */
  readonly beta: tf.Tensor1D | undefined;
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

type NormTensors = Readonly<Record<"gamma" | "epsilon", tf.Tensor>> & {
  readonly beta: tf.Tensor | undefined;
};

const forward = fused((
  { x, bias, residual, gamma, beta, epsilon, ...draw }:
    & Names<"x" | "bias" | "residual">
    & NormTensors,
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
  { dy, gamma, sum, mean, scale, ...draw }: DropoutDraw & NormGradient,
) => {
  const dSum = normGradient({ dy, gamma, sum, mean, scale });
  return { dx: drop(dSum, draw), dSum };
}, { products: ["dx"] });

/** What the gradient of a normalization is computed from; that by the root mean square has no mean. */
type NormGradient =
  & Readonly<Record<"dy" | "gamma" | "sum" | "scale", tf.Tensor>>
  & { readonly mean: tf.Tensor | undefined };

function normGradient(
  { dy, gamma, sum, mean, scale }: NormGradient,
): tf.Tensor {
  const n = normalize(sum, mean, scale);
  const g = tf.mul(dy, gamma);
  const projection = tf.mul(n, tf.mean(tf.mul(g, n), -1, true));
  const centered = mean === undefined ? g : tf.sub(g, tf.mean(g, -1, true));
  return tf.mul(tf.sub(centered, projection), scale);
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
  { x, ...norm }: { readonly x: tf.Tensor } & NormTensors,
) => normalized(x, norm), { products: ["value"] });

const normBackward = fused((
  inputs: NormGradient,
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
  { x, gamma, beta, epsilon, ...draw }: Names<"x"> & NormTensors,
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
  const bias: tf.Tensor1D = tf.zeros(norm.gamma.shape);
  return scaled(addAndNorm(x, bias, residual, plain, source), norm);
}

/** A normalization without its scale and shift. */
function unscaled({ gamma, beta, epsilon }: LayerNorm): LayerNorm {
  const ones: tf.Tensor1D = tf.ones(gamma.shape);
  return { gamma: ones, beta: beta && tf.zeros(gamma.shape), epsilon };
}

function scaled(x: tf.Tensor2D, { gamma, beta }: LayerNorm): tf.Tensor2D {
  return shifted(tf.mul(x, gamma), beta);
}

function shifted<T extends tf.Tensor>(x: T, beta: tf.Tensor | undefined): T {
  return beta === undefined ? x : tf.add(x, beta);
}

/** The normalized rows; the mean of each, and one over its standard deviation, `[rows, 1]`. */
function normalized(
  x: tf.Tensor,
  { gamma, beta, epsilon }: NormTensors,
) {
  const mean = beta && tf.mean(x, -1, true);
  const centered = mean === undefined ? x : tf.sub(x, mean);
  const variance = tf.mean(tf.square(centered), -1, true);
  const scale = tf.rsqrt(tf.add(variance, epsilon));
  const value = shifted(tf.mul(normalize(x, mean, scale), gamma), beta);
  return { value, mean, scale };
}

function normalize(
  x: tf.Tensor,
  mean: tf.Tensor | undefined,
  scale: tf.Tensor,
): tf.Tensor {
  return tf.mul(mean === undefined ? x : tf.sub(x, mean), scale);
}
