import * as tf from "@tensorflow/tfjs-core";
import { engineLanes } from "../backend.ts";
import { fused, waitFor } from "../trace.ts";
import { evenSizes, keysInReach, type Reach } from "./blocks.ts";
import {
  drawDropout,
  drop,
  type DropoutDraw,
  type DropoutSource,
} from "./dropout.ts";
import { withGradient } from "./gradient.ts";
import { maxOfRow, sumOfRow } from "./reduce.ts";

/** How attention is computed; by default, each query attends to all keys. */
interface AttentionInputs extends Partial<Reach> {
  /**
   * Added to the scores of each key, `[1 or batch, 1, 1, seq]`; undefined where
   * nothing is masked
   */
  readonly mask?: tf.Tensor4D | undefined;
  /**
   * Added to the products before the scale,
   * `[1 or batch, heads, queries, seq]`. No architecture here has one together
   * with a limited reach or with heads that share keys, for which it would have
   * to be cut as well.
   */
  readonly bias?: tf.Tensor4D | undefined;
  /** Factor of the scores. */
  readonly scale: number;
  /** Positions of the only queries of sequences, `[1 or batch, 1, 1, 1]`. */
  readonly at?: tf.Tensor | undefined;
  /** Minimum number of blocks, for threads to compute. */
  readonly minBlocks?: number | undefined;
}

/** Maximum scores of a block: 32 MiB in float32. */
const BLOCK_SCORES = 2 ** 23;
/**
 * Minimum keys of a block whose scores are computed again for the gradient,
 * instead of being stored.
 */
const RECOMPUTED_KEYS = 256;

/**
 * Scaled dot-product attention with dropout on the probabilities
 * (arXiv 1706.03762, equation 1).
 *
 * It is computed in blocks of sequences, heads and queries, one for each thread
 * at a time, whose scores are computed again for the gradient (arXiv
 * 2205.14135), so that memory grows with the length, not with its square. A
 * block has all keys that its queries attend to: its rows are whole.
 *
 * Neighbouring heads of the query may share one of keys and values (arXiv
 * 2305.13245).
 *
 * @param query `[batch, heads, queries, depth]`
 * @param key `[batch, shared heads, seq, depth]`, as `value`
 * @returns `[batch, heads, queries, depth]`
 */
export function attention(
  query: tf.Tensor4D,
  key: tf.Tensor4D,
  value: tf.Tensor4D,
  { dropout, ...inputs }: AttentionInputs & {
    readonly dropout?: DropoutSource | undefined;
  },
): tf.Tensor4D {
  return inBlocks({
    query,
    key,
    value,
    before: Infinity,
    after: Infinity,
    ...inputs,
    ...drawDropout(dropout),
    start: 0,
    done: { forward: [], backward: [] },
  });
}

/** How a block is computed. */
type BlockInputs = AttentionInputs & Reach & DropoutDraw & {
  readonly query: tf.Tensor4D;
  readonly key: tf.Tensor4D;
  readonly value: tf.Tensor4D;
  /** Position of the first query among the keys. */
  readonly start: number;
  /** Results of the blocks so far. */
  readonly done: Record<"forward" | "backward", tf.Tensor[]>;
};

/**
 * Halves sequences, heads or queries until a block has few scores, and no more
 * queries than keys around them.
 */
function inBlocks(inputs: BlockInputs): tf.Tensor4D {
  const { query, before, after, minBlocks = 1 } = inputs;
  const [batch, heads, queries] = query.shape;
  const [, shared, all] = inputs.key.shape;
  const [from, seq] = inputs.at
    ? [0, all]
    : keysInReach(inputs, inputs.start, queries, all);
  const inReach = <T extends tf.Tensor>(x: T, axis: number) =>
    seq === all ? x : rangeOf(x, axis, from, seq);
  const reached: BlockInputs = {
    ...inputs,
    key: inReach(inputs.key, 2),
    value: inReach(inputs.value, 2),
    mask: inputs.mask && inReach(inputs.mask, 3),
    start: inputs.start - from,
  };
  const isFar = queries > Math.max(1, before + after);
  const isSmall = minBlocks === 1 && !isFar &&
    batch * heads * queries * seq <= BLOCK_SCORES;
  const sizes = [batch, shared, queries];
  const axis = isFar ? QUERIES : sizes.findIndex((size) => size > 1);
  if (isSmall || axis < 0) return block(reached);
  return tf.concat(
    halved(reached, axis, sizes[axis]!).map(inBlocks),
    axis,
  );
}

/** The axis of queries in query and context. */
const QUERIES = 2;

/**
 * The inputs of both halves of a block, which is cut along an axis of
 * sequences, heads or queries.
 */
function halved(
  inputs: BlockInputs,
  axis: number,
  size: number,
): readonly [BlockInputs, BlockInputs] {
  const { key, value, maskKey, start, minBlocks = 1 } = inputs;
  const counts = evenSizes(size, 2) as [number, number];
  const halvesOf = <T extends tf.Tensor | undefined>(x: T): readonly [T, T] => {
    // Both halves share what is the same for all.
    const share = (x?.shape[axis] ?? 0) / size;
    if (x === undefined || share < 1) return [x, x];
    const [first, second] = x.split(counts.map((it) => it * share), axis);
    return [first as T, second as T];
  };
  const queryHalves = halvesOf(inputs.query);
  const maskHalves = halvesOf(inputs.mask);
  const atHalves = halvesOf(inputs.at);
  const biasHalves = halvesOf(inputs.bias);
  const keyHalves = axis === QUERIES ? [key, key] as const : halvesOf(key);
  const valueHalves = axis === QUERIES
    ? [value, value] as const
    : halvesOf(value);
  const half = (i: 0 | 1): BlockInputs => ({
    ...inputs,
    query: queryHalves[i],
    key: keyHalves[i],
    value: valueHalves[i],
    mask: maskHalves[i],
    at: atHalves[i],
    bias: biasHalves[i],
    start: start + (axis === QUERIES ? i * counts[0] : 0),
    minBlocks: Math.ceil(minBlocks / 2),
    maskKey: maskKey && halfKey(maskKey, i),
  });
  return [half(0), half(1)];
}

const HALF_KEYS = [0x2545f491, 0x27d4eb2d] as const;

/**
 * Key of the dropout masks of a half, so that each block draws masks of its
 * own: `x -> a x` and `x -> b x + 1` do not commute, so that each order of
 * halves has another key.
 */
function halfKey(key: tf.Tensor, half: 0 | 1): tf.Tensor {
  return key.mul(tf.scalar(HALF_KEYS[half], "int32"))
    .add(tf.scalar(half, "int32"));
}

/** {@linkcode attention} of a block, with its own gradient. */
function block({ query, key, value, ...inputs }: BlockInputs): tf.Tensor4D {
  const { scale, mask, bias, start, done, maskKey, rate } = inputs;
  const isStored = key.shape[2] < RECOMPUTED_KEYS;
  const earlier = (of: readonly tf.Tensor[]) => of.at(-engineLanes());
  const [batch, heads, queries, depth] = query.shape;
  const [, shared] = key.shape;
  const rows = heads / shared * queries;
  const limit = (it: number) => isFinite(it) ? tf.scalar(it) : undefined;
  const before = limit(inputs.before);
  const after = limit(inputs.after);
  const positions = Float32Array.from(
    { length: rows },
    (_, i) => start + i % queries,
  );
  const frozen: Frozen = {
    scale: tf.scalar(scale),
    mask,
    bias,
    maskKey,
    rate,
    before,
    after,
    positions: before === undefined && after === undefined
      ? undefined
      : inputs.at ?? tf.tensor4d(positions, [1, 1, rows, 1]),
  };
  // The queries of heads that share one of the keys are those of one head.
  const joined: tf.Tensor = query.reshape([batch, shared, rows, depth]);
  const context = withGradient(
    { query: joined, key, value, ...(bias && { bias }) },
    () => {
      const query = waitFor(joined, earlier(done.forward));
      const products = query.matMul(key, false, true);
      const { kept, logSum } = softmax({ products, ...frozen });
      const context = kept.matMul(value);
      done.forward.push(context);
      const stored = isStored ? products : undefined;
      return {
        value: context,
        logSum,
        stored,
        joined,
        key,
        v: value,
        ...frozen,
      };
    },
    (dContext, { logSum, stored, joined, key, v, ...frozen }) => {
      const dy = waitFor(dContext, earlier(done.backward));
      const { dProducts, kept } = softmaxGradient({
        dKept: dy.matMul(v, false, true),
        products: stored ?? waitFor(joined, dy).matMul(key, false, true),
        logSum,
        ...frozen,
      });
      const dQuery = dProducts.matMul(key);
      done.backward.push(dQuery);
      const isShared = bias !== undefined && bias.shape[0] < batch;
      return {
        query: dQuery,
        key: dProducts.matMul(joined, true, false),
        value: kept.matMul(dy, true, false),
        bias: () => isShared ? dProducts.sum(0, true) : dProducts,
      };
    },
  );
  return context.reshape([batch, heads, queries, depth]);
}

/** Inputs of the softmax without a gradient. */
type Frozen = DropoutDraw & {
  readonly scale: tf.Tensor;
  readonly mask: tf.Tensor | undefined;
  readonly bias: tf.Tensor | undefined;
  /**
   * Positions of the queries among the keys,
   * `[1 or batch, 1, 1 or queries, 1]`, where a distance is limited.
   */
  readonly positions: tf.Tensor | undefined;
  readonly before: tf.Tensor | undefined;
  readonly after: tf.Tensor | undefined;
};

/**
 * Softmax of the scaled and masked products over the last axis, then dropout.
 */
const softmax = fused(
  (
    { products, maskKey, rate, ...frozen }: Frozen & { products: tf.Tensor },
  ) => {
    const x = scores(products, frozen);
    const max = maxOfRow(x);
    const weights: tf.Tensor = x.sub(max).exp();
    const sum = sumOfRow(weights);
    const p: tf.Tensor = weights.mul(tf.div(1, sum));
    return { kept: drop(p, { maskKey, rate }), logSum: max.add(sum.log()) };
  },
  { bfloat16: ["kept"] },
);

/**
 * Gradient of {@linkcode softmax}, which recomputes the probabilities from the
 * logarithm of their sums.
 */
const softmaxGradient = fused(
  (
    { dKept, products, logSum, maskKey, rate, ...frozen }:
      & Frozen
      & Record<"dKept" | "products" | "logSum", tf.Tensor>,
  ) => {
    const x = scores(products, frozen);
    const p: tf.Tensor = x.sub(logSum).exp();
    const weighted: tf.Tensor = drop(dKept, { maskKey, rate }).mul(p);
    return {
      dProducts: weighted.sub(p.mul(sumOfRow(weighted))).mul(frozen.scale),
      kept: drop(p, { maskKey, rate }),
    };
  },
  { bfloat16: ["dProducts", "kept"] },
);

function scores(
  products: tf.Tensor,
  { scale, mask, bias, positions, before, after }: Omit<Frozen, "maskKey">,
): tf.Tensor {
  const biased = bias === undefined ? products : products.add(bias);
  const scaled: tf.Tensor = biased.mul(scale);
  if (positions === undefined) return mask ? scaled.add(mask) : scaled;
  const distance = positions.sub(tokenRange(products.shape[3]!));
  const outside = [
    after && distance.less(after.neg()),
    before && distance.greater(before),
  ].filter((it) => it !== undefined).reduce((a, b) => a.logicalOr(b));
  const added = outside.cast("float32").mul(MASKED);
  return scaled.add(mask ? added.add(mask) : added);
}

/** Added to the scores of masked keys. */
export const MASKED = -1e9;

/** A range of an axis. */
export function rangeOf<T extends tf.Tensor>(
  x: T,
  axis: number,
  start: number,
  count: number,
): T {
  const sizes = x.shape.map((size, i) => i === axis ? count : size);
  return x.slice(sizes.map((_, i) => i === axis ? start : 0), sizes);
}

/** The positions of tokens, from 0: `[seq]` */
export function tokenRange(seq: number): tf.Tensor1D {
  return tf.tensor1d(Float32Array.from({ length: seq }, (_, i) => i));
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
    return projected.reshape([-1, seq, all, depth]).transpose([0, 2, 1, 3])
      .split([...heads], 1);
  }
  const split = projected.reshape([-1, seq, parts, heads[0]!, depth])
    .transpose([2, 0, 3, 1, 4]);
  // The gradient of tf.unstack fails for a single part.
  return parts === 1 ? [split.squeeze([0])] : split.unstack();
}

/**
 * Joins heads again: `[batch, heads, seq, depth]` -> `[batch * seq, hidden]`.
 */
export function joinHeads(context: tf.Tensor4D): tf.Tensor2D {
  const [batch, heads, seq, depth] = context.shape;
  return context.transpose([0, 2, 1, 3]).reshape([batch * seq, heads * depth]);
}
