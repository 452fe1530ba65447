import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import { drawSite, drop, type DropoutSource } from "./dropout.ts";

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
  const { forward, backward } = mask === undefined ? unmasked : masked;
  const frozen = [
    tf.scalar(1 / Math.sqrt(query.shape[3])),
    ...(mask === undefined ? [] : [mask]),
    ...drawSite(source),
  ];
  return tf.customGrad((...args) => {
    const save = args.pop() as tf.GradSaveFunc;
    const [q, k, v] = args as tf.Tensor4D[];
    const products = tf.matMul(q!, k!, false, true);
    const [kept, logSum] = forward([products, ...frozen]) as tf.Tensor4D[];
    save([q!, k!, v!, products, kept!, logSum!, ...frozen]);
    return {
      value: tf.matMul(kept!, v!),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [q, k, v, products, kept, logSum, ...frozen] =
          saved as tf.Tensor4D[];
        const dKept = tf.matMul(dy as tf.Tensor4D, v!, false, true);
        const [dProducts] = backward([dKept, products!, logSum!, ...frozen]);
        return [
          tf.matMul(dProducts!, k!),
          tf.matMul(dProducts!, q!, true, false),
          tf.matMul(kept!, dy as tf.Tensor4D, true, false),
        ];
      },
    };
  })(query, key, value) as tf.Tensor4D;
}

const masked = dropSoftmax(true);
const unmasked = dropSoftmax(false);

/**
 * Softmax of the scaled and masked products over the last axis, then dropout;
 * and its gradient, which finds the probabilities again from the logarithm of
 * their sums.
 */
function dropSoftmax(masked: boolean) {
  const scores = (products: tf.Tensor, [scale, mask]: tf.Tensor[]) => {
    const scaled = tf.mul(products, scale!);
    return masked ? tf.add(scaled, mask!) : scaled;
  };
  const drawOf = (frozen: tf.Tensor[]) => frozen.slice(masked ? 2 : 1);
  return {
    forward: fused(([products, ...frozen]) => {
      const x = scores(products!, frozen);
      const max = tf.max(x, -1, true);
      const sum = tf.sum(tf.exp(tf.sub(x, max)), -1, true);
      const logSum = tf.add(max, tf.log(sum));
      return [drop(tf.exp(tf.sub(x, logSum)), drawOf(frozen)), logSum];
    }, { products: [0] }),
    backward: fused(([dKept, products, logSum, ...frozen]) => {
      const p = tf.exp(tf.sub(scores(products!, frozen), logSum!));
      const weighted = tf.mul(drop(dKept!, drawOf(frozen)), p);
      const dScores = tf.sub(
        weighted,
        tf.mul(p, tf.sum(weighted, -1, true)),
      );
      return [tf.mul(dScores, frozen[0]!)];
    }, { products: [0] }),
  };
}

/**
 * Takes apart a projection that holds `parts` heads-wide pieces:
 * `[batch * seq, parts * hidden]` -> parts of `[batch, heads, seq, depth]`.
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
