import * as tf from "@tensorflow/tfjs-core";
import { type DropoutSource, keepMask } from "./dropout.ts";
import { softmax } from "./softmax.ts";

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
  const [batch, heads, queries, depth] = query.shape;
  const scale = 1 / Math.sqrt(depth);
  const keep = source === undefined || source.rate === 0
    ? undefined
    : keepMask([batch, heads, queries, key.shape[2]], source);
  return tf.customGrad((...args) => {
    const save = args.pop() as tf.GradSaveFunc;
    const [q, k, v] = args as tf.Tensor4D[];
    const scores = tf.mul(tf.matMul(q!, k!, false, true), scale);
    const probabilities = softmax(
      mask === undefined ? scores : tf.add(scores, mask),
    );
    const kept = keep === undefined
      ? probabilities
      : tf.mul(probabilities, keep);
    save([
      q!,
      k!,
      v!,
      probabilities,
      kept,
      ...(keep === undefined ? [] : [keep]),
    ]);
    return {
      value: tf.matMul(kept, v!),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [q, k, v, probabilities, kept, keep] = saved as tf.Tensor4D[];
        const dKept = tf.matMul(dy as tf.Tensor4D, v!, false, true);
        const dProbabilities = keep === undefined ? dKept : tf.mul(dKept, keep);
        const weighted = tf.mul(dProbabilities, probabilities!);
        const dScores = tf.mul(
          tf.sub(weighted, tf.mul(probabilities!, tf.sum(weighted, -1, true))),
          scale,
        );
        return [
          tf.matMul(dScores, k!),
          tf.matMul(dScores, q!, true, false),
          tf.matMul(kept!, dy as tf.Tensor4D, true, false),
        ];
      },
    };
  })(query, key, value) as tf.Tensor4D;
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
