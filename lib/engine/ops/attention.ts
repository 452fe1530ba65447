import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import {
  drawDropout,
  drop,
  type DropoutDraw,
  type DropoutSource,
} from "./dropout.ts";
import { withGradient } from "./gradient.ts";

/**
 * Scaled dot-product attention with dropout on the probabilities
 * (arXiv 1706.03762, equation 1), with its own gradient.
 *
 * @param query `[batch, heads, queries, depth]`
 * @param key `[batch, heads, seq, depth]`
 * @param value `[batch, heads, seq, depth]`
 * @param mask Added to the scores, `[batch, 1, 1, seq]`; undefined where nothing is padded
 * @returns `[batch, heads, queries, depth]`
 */
export function attention(
  query: tf.Tensor4D,
  key: tf.Tensor4D,
  value: tf.Tensor4D,
  mask: tf.Tensor4D | undefined,
  source: DropoutSource | undefined,
): tf.Tensor4D {
  const frozen: Frozen = {
    scale: tf.scalar(1 / Math.sqrt(query.shape[3])),
    mask,
    ...drawDropout(source),
  };
  return withGradient(
    { query, key, value } as Record<"query" | "key" | "value", tf.Tensor>,
    ({ query, key, value }) => {
      const products = tf.matMul(query, key, false, true);
      const { kept, logSum } = softmax({ products, ...frozen });
      return {
        value: tf.matMul(kept, value),
        saved: { query, key, value, products, kept, logSum, ...frozen },
      };
    },
    (dy, { query, key, value, products, kept, logSum, ...frozen }) => {
      const dKept = tf.matMul(dy, value, false, true);
      const { dProducts } = softmaxGradient({
        dKept,
        products,
        logSum,
        ...frozen,
      });
      return {
        query: tf.matMul(dProducts, key),
        key: tf.matMul(dProducts, query, true, false),
        value: tf.matMul(kept, dy, true, false),
      };
    },
  ) as tf.Tensor4D;
}

/** What has no gradient. */
type Frozen = DropoutDraw & {
  readonly scale: tf.Tensor;
  readonly mask: tf.Tensor | undefined;
};

/** Softmax of the scaled and masked products over the last axis, then dropout. */
const softmax = fused(
  ({ products, scale, mask, ...draw }: Frozen & { products: tf.Tensor }) => {
    const x = scores(products, scale, mask);
    const max = tf.max(x, -1, true);
    const sum = tf.sum(tf.exp(tf.sub(x, max)), -1, true);
    const logSum = tf.add(max, tf.log(sum));
    return { kept: drop(tf.exp(tf.sub(x, logSum)), draw), logSum };
  },
  { products: ["kept"] },
);

/** Its gradient, which finds the probabilities again from the logarithm of their sums. */
const softmaxGradient = fused(
  (
    { dKept, products, logSum, scale, mask, ...draw }:
      & Frozen
      & Record<"dKept" | "products" | "logSum", tf.Tensor>,
  ) => {
    const p = tf.exp(tf.sub(scores(products, scale, mask), logSum));
    const weighted = tf.mul(drop(dKept, draw), p);
    const dScores = tf.sub(
      weighted,
      tf.mul(p, tf.sum(weighted, -1, true)),
    );
    return { dProducts: tf.mul(dScores, scale) };
  },
  { products: ["dProducts"] },
);

function scores(
  products: tf.Tensor,
  scale: tf.Tensor,
  mask: tf.Tensor | undefined,
): tf.Tensor {
  const scaled = tf.mul(products, scale);
  return mask === undefined ? scaled : tf.add(scaled, mask);
}

/**
 * Splits a projection that holds `parts` modules of the same width into heads:
 * `[batch * seq, parts * hidden]` -> for each part `[batch, heads, seq, depth]`.
 */
export function splitHeads(
  projected: tf.Tensor2D,
  batch: number,
  heads: number,
  parts: number,
): tf.Tensor4D[] {
  const seq = projected.shape[0] / batch;
  const depth = projected.shape[1] / parts / heads;
  const split = tf.transpose(
    tf.reshape(projected, [batch, seq, parts, heads, depth]),
    [2, 0, 3, 1, 4],
  );
  // The gradient of tf.unstack fails for a single part.
  return parts === 1
    ? [tf.squeeze(split, [0])]
    : tf.unstack(split) as tf.Tensor4D[];
}

/** Joins heads again: `[batch, heads, seq, depth]` -> `[batch * seq, hidden]`. */
export function joinHeads(context: tf.Tensor4D): tf.Tensor2D {
  const [batch, heads, seq, depth] = context.shape;
  return tf.reshape(tf.transpose(context, [0, 2, 1, 3]), [
    batch * seq,
    heads * depth,
  ]);
}
