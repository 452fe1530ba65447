import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import {
  drawDropout,
  drop,
  type DropoutDraw,
  type DropoutSource,
} from "./dropout.ts";
import { withGradient } from "./gradient.ts";

/** How attention is computed. */
interface AttentionInputs {
  /** Added to the scores, `[1 or batch, 1, 1 or queries, seq]`; undefined where nothing is masked */
  readonly mask?: tf.Tensor4D | undefined;
  /** Added to the products before the scale, `[1 or batch, heads, queries, seq]` */
  readonly bias?: tf.Tensor4D | undefined;
  /** True if the bias depends on trained parameters. */
  readonly biasGradient?: boolean;
  /** Factor of the scores. */
  readonly scale: number;
  readonly dropout?: DropoutSource | undefined;
}

/**
 * Scaled dot-product attention with dropout on the probabilities
 * (arXiv 1706.03762, equation 1), with its own gradient.
 *
 * @param query `[batch, heads, queries, depth]`
 * @param key `[batch, heads, seq, depth]`
 * @param value `[batch, heads, seq, depth]`
 * @returns `[batch, heads, queries, depth]`
 */
export function attention(
  query: tf.Tensor4D,
  key: tf.Tensor4D,
  value: tf.Tensor4D,
  { mask, bias, biasGradient = false, scale, dropout }: AttentionInputs,
): tf.Tensor4D {
  const isShared = bias !== undefined && bias.shape[0] < query.shape[0];
  const frozen: Frozen = {
    scale: tf.scalar(scale),
    mask,
    // A bias that all sequences share is added again in the gradient instead of being stored with the products.
    bias: isShared ? bias : undefined,
    ...drawDropout(dropout),
  };
  const inputs: Record<string, tf.Tensor> = {
    query,
    key,
    value,
    ...(biasGradient && bias !== undefined && { bias }),
  };
  return withGradient(
    inputs,
    (inputs) => {
      const { query, key, value } = inputs as Record<
        "query" | "key" | "value",
        tf.Tensor
      >;
      const plain = tf.matMul(query, key, false, true);
      const added = isShared ? undefined : inputs.bias ?? bias;
      const products = added === undefined ? plain : tf.add(plain, added);
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
      const dBias = isShared ? tf.sum(dProducts, 0, true) : dProducts;
      return {
        query: tf.matMul(dProducts, key),
        key: tf.matMul(dProducts, query, true, false),
        value: tf.matMul(kept, dy, true, false),
        bias: dBias,
      };
    },
  ) as tf.Tensor4D;
}

/** Inputs without a gradient. */
type Frozen = DropoutDraw & {
  readonly scale: tf.Tensor;
  readonly mask: tf.Tensor | undefined;
  readonly bias: tf.Tensor | undefined;
};

/** Softmax of the scaled and masked products over the last axis, then dropout. */
const softmax = fused(
  (
    { products, scale, mask, bias, ...draw }: Frozen & { products: tf.Tensor },
  ) => {
    const x = scores(products, { scale, mask, bias });
    const max = tf.max(x, -1, true);
    const sum = tf.sum(tf.exp(tf.sub(x, max)), -1, true);
    const logSum = tf.add(max, tf.log(sum));
    return { kept: drop(tf.exp(tf.sub(x, logSum)), draw), logSum };
  },
  { products: ["kept"] },
);

/** Gradient of {@linkcode softmax}, which recomputes the probabilities from the logarithm of their sums. */
const softmaxGradient = fused(
  (
    { dKept, products, logSum, scale, mask, bias, ...draw }:
      & Frozen
      & Record<"dKept" | "products" | "logSum", tf.Tensor>,
  ) => {
    const x = scores(products, { scale, mask, bias });
    const p = tf.exp(tf.sub(x, logSum));
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
  { scale, mask, bias }: Pick<Frozen, "scale" | "mask" | "bias">,
): tf.Tensor {
  const biased = bias === undefined ? products : tf.add(products, bias);
  const scaled = tf.mul(biased, scale);
  return mask === undefined ? scaled : tf.add(scaled, mask);
}

/** Added to the scores of masked keys. */
export const MASKED = -1e9;

/**
 * Attention where several neighbouring heads of the query share one of keys and
 * values (arXiv 2305.13245): their queries are those of one head.
 *
 * @param query `[batch, heads, queries, depth]`
 * @param key `[batch, shared heads, seq, depth]`, as `value`
 * @returns `[batch, heads, queries, depth]`
 */
export function groupedAttention(
  query: tf.Tensor4D,
  key: tf.Tensor4D,
  value: tf.Tensor4D,
  inputs: Pick<AttentionInputs, "mask" | "scale" | "dropout">,
): tf.Tensor4D {
  const [batch, heads, queries, depth] = query.shape;
  const shared = key.shape[1];
  const group = heads / shared;
  const { mask } = inputs;
  const grouped = tf.reshape(query, [batch, shared, group * queries, depth]);
  const context = attention(grouped as tf.Tensor4D, key, value, {
    ...inputs,
    mask: mask === undefined || mask.shape[2] === 1
      ? mask
      : tf.tile(mask, [1, 1, group, 1]),
  });
  return tf.reshape(context, [batch, heads, queries, depth]);
}

/**
 * Additive mask of causal attention.
 *
 * @param at Places of the queries: `[1, 1, queries, 1]`, or of one in each sequence, `[batch, 1, 1, 1]`
 * @param window Tokens before its own that a query attends to; all of them by default
 * @returns `[1 or batch, 1, queries, seq]`
 */
export function causalMask(
  at: tf.Tensor4D,
  seq: number,
  window: number | undefined,
): tf.Tensor4D {
  const distance = tf.sub(at, tokenRange(seq));
  const later = tf.less(distance, 0);
  const masked = window === undefined
    ? later
    : tf.logicalOr(later, tf.greater(distance, window));
  return tf.mul(tf.cast(masked, "float32"), MASKED);
}

/** The first of an axis. */
export function firstOf<T extends tf.Tensor>(x: T, axis: number, count = 1): T {
  const sizes = x.shape.map((size, i) => i === axis ? count : size);
  return tf.slice(x, sizes.map(() => 0), sizes);
}

/** The places of tokens, from 0: `[seq]` */
export function tokenRange(seq: number): tf.Tensor1D {
  return tf.tensor1d(Float32Array.from({ length: seq }, (_, i) => i));
}

/**
 * Attention within a window: each token attends to the tokens at a distance of
 * at most `window`. Sequences are cut into blocks as long as the window, each
 * of which attends to itself and its two neighbours, so that scores outside of
 * these are not computed.
 *
 * @param query `[batch, heads, queries, depth]`: all tokens, or the first alone
 * @param key `[batch, heads, seq, depth]`, as `value`; longer than the window
 * @returns `[batch, heads, queries, depth]`
 */
export function windowedAttention(
  query: tf.Tensor4D,
  key: tf.Tensor4D,
  value: tf.Tensor4D,
  window: number,
  { mask, scale, dropout }: Pick<AttentionInputs, "mask" | "scale" | "dropout">,
): tf.Tensor4D {
  if (query.shape[2] === 1) {
    const [near, values] = [key, value].map((it) => firstOf(it, 2, window + 1));
    return attention(query, near!, values!, {
      mask: mask && firstOf(mask, 3, window + 1),
      scale,
      dropout,
    });
  }
  const [batch, heads, seq, depth] = query.shape;
  const blocks = Math.ceil(seq / window);
  const end = blocks * window - seq;
  const padded = (x: tf.Tensor4D, before: number, after: number) =>
    before + after === 0
      ? x
      : tf.pad(x, [[0, 0], [0, 0], [before, after], [0, 0]]);
  /** `[.., rows * depth]`, one row for each block -> `[batch * blocks, heads, rows, depth]` */
  const byBlock = (x: tf.Tensor): tf.Tensor4D =>
    tf.reshape(
      tf.transpose(
        tf.reshape(x, [batch, heads, blocks, -1, depth]),
        [0, 2, 1, 3, 4],
      ),
      [batch * blocks, heads, -1, depth],
    );
  const neighbours = (x: tf.Tensor4D): tf.Tensor4D =>
    byBlock(withNeighbours(tf.reshape(padded(x, window, end + window), [
      batch * heads,
      blocks + 2,
      window * depth,
    ])));
  const context = attention(
    byBlock(padded(query, 0, end)),
    neighbours(key),
    neighbours(value),
    {
      mask: windowMask(mask, batch, seq, window),
      scale,
      dropout,
    },
  );
  const joined = tf.reshape(
    tf.transpose(
      tf.reshape(context, [batch, blocks, heads, window, depth]),
      [0, 2, 1, 3, 4],
    ),
    [batch, heads, blocks * window, depth],
  ) as tf.Tensor4D;
  return end === 0 ? joined : tf.slice(joined, [0, 0, 0, 0], [-1, -1, seq, -1]);
}

/**
 * Additive mask of the blocks of {@linkcode windowedAttention}.
 *
 * @param mask `[batch, 1, 1, seq]`
 * @returns `[batch * blocks, 1, window, 3 * window]`
 */
function windowMask(
  mask: tf.Tensor4D | undefined,
  batch: number,
  seq: number,
  window: number,
): tf.Tensor4D {
  const blocks = Math.ceil(seq / window);
  const padded = tf.pad(
    tf.reshape(mask ?? tf.zeros([batch, seq]), [batch, seq]),
    [[0, 0], [window, (blocks + 1) * window - seq]],
    MASKED,
  );
  const ofKeys = withNeighbours(
    tf.reshape(padded, [batch, blocks + 2, window]),
  );
  // The keys of a block begin a window before its queries.
  const places = tf.expandDims(tf.add(tokenRange(window), window), 1);
  const distance = tf.abs(tf.sub(places, tokenRange(3 * window)));
  const far = tf.cast(tf.greater(distance, window), "float32");
  return tf.reshape(
    tf.add(tf.expandDims(ofKeys, 2), tf.mul(far, MASKED)),
    [batch * blocks, 1, window, 3 * window],
  );
}

/**
 * Blocks with their neighbours: `[n, blocks + 2, size]` -> `[n, blocks, 3 * size]`.
 * On three dimensions: the gradient pads, and WebGPU pads tensors of five incorrectly.
 */
function withNeighbours(x: tf.Tensor3D): tf.Tensor3D {
  const blocks = x.shape[1] - 2;
  const parts = [0, 1, 2].map((shift) =>
    tf.slice(x, [0, shift, 0], [-1, blocks, -1])
  );
  return tf.concat(parts, 2);
}

/**
 * Splits a projection that holds several modules into the heads of each:
 * `[batch * seq, all heads * depth]` -> `[batch, heads, seq, depth]`.
 */
export function splitHeads(
  projected: tf.Tensor2D,
  seq: number,
  heads: readonly number[],
): tf.Tensor4D[] {
  const all = heads.reduce((sum, it) => sum + it);
  const depth = projected.shape[1] / all;
  const parts = heads.length;
  if (heads.some((it) => it !== heads[0])) {
    const byHead: tf.Tensor4D = tf.transpose(
      tf.reshape(projected, [-1, seq, all, depth]),
      [0, 2, 1, 3],
    );
    return tf.split(byHead, [...heads], 1);
  }
  const split = tf.transpose(
    tf.reshape(projected, [-1, seq, parts, heads[0]!, depth]),
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
