import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import {
  drawDropout,
  drop,
  type DropoutDraw,
  type DropoutSource,
} from "./dropout.ts";
import { withGradient } from "./gradient.ts";
import { meanOfRow } from "./reduce.ts";

/**
 * A layer normalization (arXiv 1607.06450), or one by the root mean square
 * (arXiv 1910.07467).
 */
export interface LayerNorm {
  /** `[hidden]` */
  readonly gamma: tf.Tensor1D;
  /**
   * `[hidden]`; undefined for the root mean square, which neither subtracts the
   * mean nor shifts
   */
  readonly beta: tf.Tensor1D | undefined;
  readonly epsilon: number;
}

/**
 * Norm parameters and inputs, `[rows, hidden]`; the bias, `[hidden]`, is
 * frozen.
 */
interface NormInputs extends LayerNorm {
  readonly x: tf.Tensor2D;
  readonly bias?: tf.Tensor1D | undefined;
  readonly residual?: tf.Tensor2D | undefined;
  readonly source?: DropoutSource | undefined;
  /** True if only products take the result. */
  readonly ofProducts?: boolean;
}

/**
 * The end of a post-norm sub-layer, `LayerNorm(dropout(x + bias) + residual)`,
 * or without a residual `dropout(LayerNorm(x + bias))`, with its own gradient.
 */
export function layerNorm(
  { x, bias, residual, gamma, beta, epsilon, source, ofProducts }: NormInputs,
): tf.Tensor2D {
  const draw = drawDropout(source);
  return withGradient(
    { x, ...(residual && { residual }), gamma, ...(beta && { beta }) },
    () => {
      const compute = ofProducts ? forwardForProducts : forward;
      const { value, sum = x, mean, scale } = compute({
        x,
        bias,
        residual,
        gamma,
        beta,
        epsilon: tf.scalar(epsilon),
        ...draw,
      });
      return { value, mean, scale, sum, gamma, ...draw };
    },
    (dy, saved) => {
      const { sum, mean, scale } = saved;
      const dValue = () => residual ? dy : drop(dy, saved);
      const parameters = {
        gamma: () => sumOfRows(dValue().mul(normalize(sum, mean, scale))),
        beta: () => sumOfRows(dValue()),
      };
      if (residual === undefined) {
        return { ...parameters, x: backward({ dy, ...saved }).dx };
      }
      const { dx, dSum } = backwardOfSum({ dy, ...saved });
      return { ...parameters, x: dx, residual: dSum };
    },
  ) as tf.Tensor2D;
}

type Inputs =
  & DropoutDraw
  & Readonly<Record<"x" | "gamma" | "epsilon", tf.Tensor>>
  & Readonly<Record<"bias" | "residual" | "beta", tf.Tensor | undefined>>;

/**
 * The normalized rows; of a sum, that as well; the mean of each row, and one
 * over its standard deviation, `[rows, 1]`.
 */
function normalized(
  { x, bias, residual, gamma, beta, epsilon, ...draw }: Inputs,
) {
  const biased = shifted(x, bias);
  const sum: tf.Tensor | undefined = residual &&
    drop(biased, draw).add(residual);
  const y = sum ?? biased;
  const mean = beta && meanOfRow(y);
  const centered = mean === undefined ? y : y.sub(mean);
  const scale = meanOfRow(centered.square()).add(epsilon).rsqrt();
  const value = shifted(normalize(y, mean, scale).mul(gamma), beta);
  return { value: residual ? value : drop(value, draw), sum, mean, scale };
}

const forward = fused(normalized);
const forwardForProducts = fused(normalized, { bfloat16: ["value"] });

/**
 * What the gradient of a normalization is computed from; that by the root mean
 * square has no mean.
 */
type Gradient =
  & DropoutDraw
  & Readonly<Record<"dy" | "gamma" | "sum" | "scale", tf.Tensor>>
  & { readonly mean: tf.Tensor | undefined };

/**
 * `s (g - mean(g) - n mean(g n))`, where `n` is the normalized input,
 * `s = 1 / sqrt(var + epsilon)` and `g = dy gamma`.
 */
function gradientOfSum({ dy, gamma, sum, mean, scale }: Gradient): tf.Tensor {
  const n = normalize(sum, mean, scale);
  const g: tf.Tensor = dy.mul(gamma);
  const projection = n.mul(meanOfRow(g.mul(n)));
  const centered = mean === undefined ? g : g.sub(meanOfRow(g));
  return centered.sub(projection).mul(scale);
}

const backwardOfSum = fused(
  ({ dy, gamma, sum, mean, scale, ...draw }: Gradient) => {
    const dSum = gradientOfSum({ dy, gamma, sum, mean, scale });
    return { dx: drop(dSum, draw), dSum };
  },
  { bfloat16: ["dx"] },
);

const backward = fused((
  { dy, gamma, sum, mean, scale, ...draw }: Gradient,
) => ({
  dx: gradientOfSum({ dy: drop(dy, draw), gamma, sum, mean, scale }),
}));

/** The sum over all axes but the last. */
function sumOfRows(x: tf.Tensor): tf.Tensor {
  return x.sum(x.shape.slice(1).map((_, axis) => axis));
}

function shifted<T extends tf.Tensor>(x: T, by: tf.Tensor | undefined): T {
  return by === undefined ? x : x.add(by);
}

function normalize(
  x: tf.Tensor,
  mean: tf.Tensor | undefined,
  scale: tf.Tensor,
): tf.Tensor {
  return (mean === undefined ? x : x.sub(mean)).mul(scale);
}
