import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import { drawSite, drop, type DropoutSource } from "./dropout.ts";

/** A frozen layer normalization. */
export interface LayerNorm {
  /** `[hidden]` */
  readonly gamma: tf.Tensor1D;
  /** `[hidden]` */
  readonly beta: tf.Tensor1D;
  readonly epsilon: number;
}

/**
 * The end of a sub-layer, `LayerNorm(dropout(x + bias) + residual)`, with bias
 * and normalization frozen, and with its own gradient.
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
  const draw = drawSite(source);
  return tf.customGrad((...args) => {
    const save = args.pop() as tf.GradSaveFunc;
    const [x, residual] = args as tf.Tensor2D[];
    const [value, sum, mean, scale] = forward([
      x!,
      bias,
      residual!,
      gamma,
      beta,
      tf.scalar(epsilon),
      ...draw,
    ]);
    save([gamma, sum!, mean!, scale!, ...draw]);
    return {
      value: value!,
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => backward([dy, ...saved]),
    };
  })(x, residual) as tf.Tensor2D;
}

const forward = fused(([x, bias, residual, gamma, beta, epsilon, ...draw]) => {
  const sum = tf.add(drop(tf.add(x!, bias!), draw), residual!);
  const { mean, scale } = moments(sum, epsilon!);
  const value = tf.add(tf.mul(normalize(sum, mean, scale), gamma!), beta!);
  return [value, sum, mean, scale];
});

/**
 * `dx = s (g - mean(g) - n mean(g n))`, where `n` is the normalized input,
 * `s = 1 / sqrt(var + epsilon)` and `g = dy gamma`; for `x` masked again.
 */
const backward = fused(([dy, gamma, sum, mean, scale, ...draw]) => {
  const n = normalize(sum!, mean!, scale!);
  const g = tf.mul(dy!, gamma!);
  const projection = tf.mul(n, tf.mean(tf.mul(g, n), -1, true));
  const dSum = tf.mul(
    tf.sub(tf.sub(g, tf.mean(g, -1, true)), projection),
    scale!,
  );
  return [drop(dSum, draw), dSum];
}, { products: [0] });

/**
 * Layer normalization over the last axis (arXiv 1607.06450) of the sum of
 * frozen tensors, then dropout. It has no gradient, since nothing below is trained.
 *
 * @param parts Each `[rows, hidden]`
 */
export function normFrozen(
  parts: readonly tf.Tensor2D[],
  { gamma, beta, epsilon }: LayerNorm,
  source: DropoutSource | undefined,
): tf.Tensor2D {
  const sum = parts.reduce((sum, part) => tf.add(sum, part));
  const draw = drawSite(source);
  return tf.customGrad((x) => ({
    value: normThenDrop([
      x as tf.Tensor,
      gamma,
      beta,
      tf.scalar(epsilon),
      ...draw,
    ])[0]!,
    gradFunc: () => {
      throw new Error("Frozen embeddings have no gradient");
    },
  }))(sum) as tf.Tensor2D;
}

const normThenDrop = fused(([x, gamma, beta, epsilon, ...draw]) => {
  const { mean, scale } = moments(x!, epsilon!);
  const normalized = normalize(x!, mean, scale);
  return [drop(tf.add(tf.mul(normalized, gamma!), beta!), draw)];
});

/** Mean of each row, and one over its standard deviation: `[rows, 1]`. */
function moments(x: tf.Tensor, epsilon: tf.Tensor) {
  const mean = tf.mean(x, -1, true);
  const variance = tf.mean(tf.square(tf.sub(x, mean)), -1, true);
  return { mean, scale: tf.rsqrt(tf.add(variance, epsilon)) };
}

function normalize(
  x: tf.Tensor,
  mean: tf.Tensor,
  scale: tf.Tensor,
): tf.Tensor {
  return tf.mul(tf.sub(x, mean), scale);
}
