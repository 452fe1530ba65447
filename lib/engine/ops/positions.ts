import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import { lookUp } from "./embedding.ts";
import { withGradient } from "./gradient.ts";

/**
 * Cosines and sines of positions and frequencies: `[tokens, depth / 2]` each.
 */
export type Angles = readonly [cos: tf.Tensor2D, sin: tf.Tensor2D];

/**
 * Rotary positions (arXiv 2104.09864), the halves of the depth paired as in
 * GPT-NeoX, with its own gradient, which turns the other way.
 *
 * @param x `[sequences, heads, tokens, depth]`
 * @param angles Of these tokens
 * @param at Position of the only token of each sequence, `[sequences]`;
 * otherwise `x` has all of them
 */
export function rotary(
  x: tf.Tensor4D,
  angles: Angles,
  at?: tf.Tensor1D,
): tf.Tensor4D {
  const rows = at?.expandDims().cast<tf.Tensor2D>("int32");
  const [cos, sin] = angles.map((of) =>
    rows ? lookUp(of, rows).reshape([-1, 1, 1, of.shape[1]]) : of
  ) as [tf.Tensor, tf.Tensor];
  return withGradient(
    { x },
    () => ({ ...turn({ x, cos, sin }), cos, sin }),
    (dy, { cos, sin }) => ({ x: turn({ x: dy, cos, sin: sin.neg() }).value }),
  ) as tf.Tensor4D;
}

const turn = fused(
  ({ x, cos, sin }: Record<"x" | "cos" | "sin", tf.Tensor>) => {
    const [left, right] = x.split(2, -1) as [tf.Tensor, tf.Tensor];
    return {
      value: tf.concat([
        left.mul(cos).sub(right.mul(sin)),
        right.mul(cos).add(left.mul(sin)),
      ], -1),
    };
  },
  { bfloat16: ["value"] },
);

/**
 * The angles of tokens, rounded as in float32.
 *
 * @param frequencies `[depth / 2]`
 * @param start Position of the first
 */
export function rotaryAngles(
  tokens: number,
  frequencies: Float32Array,
  start = 0,
): Angles {
  const half = frequencies.length;
  const values = Float32Array.from(
    { length: tokens * half },
    (_, i) => (start + Math.floor(i / half)) * frequencies[i % half]!,
  );
  return [
    tf.tensor2d(values.map(Math.cos), [tokens, half]),
    tf.tensor2d(values.map(Math.sin), [tokens, half]),
  ];
}

/**
 * A table of biases by distance, spread over queries and keys.
 *
 * @param table `[buckets, heads]`
 * @param options.bucket Row of the table for a distance, key minus query
 * @param options.factor Multiplies all biases
 * @returns `[1, heads, tokens, tokens]`
 */
export function positionBias(
  table: tf.Tensor2D,
  tokens: number,
  { bucket, factor }: {
    readonly factor: number;
    bucket(distance: number): number;
  },
): tf.Tensor4D {
  const heads = table.shape[1];
  const rows = Int32Array.from(
    { length: tokens * tokens },
    (_, i) => bucket(i % tokens - Math.floor(i / tokens)),
  );
  const biases = lookUp(table, tf.tensor2d(rows, [1, rows.length], "int32"));
  return biases.transpose().mul(factor).reshape([1, heads, tokens, tokens]);
}

/**
 * Heads of relative positions, spread over distances.
 *
 * @param x `[ranks, heads, positions, depth]`
 * @param rows Position of each distance
 * @returns `[ranks, heads, distances, depth]`
 */
export function ofDistances(
  x: tf.Tensor4D,
  rows: readonly number[],
): tf.Tensor4D {
  if (rows.every((row, i) => row === i)) return x;
  const [sequences, heads, count, depth] = x.shape;
  const blocks = sequences * heads;
  const ids = Int32Array.from(
    { length: blocks * rows.length },
    (_, i) => Math.floor(i / rows.length) * count + rows[i % rows.length]!,
  );
  const table: tf.Tensor2D = x.reshape([blocks * count, depth]);
  return lookUp(table, tf.tensor2d(ids, [1, ids.length], "int32"))
    .reshape([sequences, heads, rows.length, depth]);
}

/** Heads of contents and of relative positions. */
interface Disentangled {
  /**
   * Queries of all tokens, or of the first of each sequence alone:
   * `[sequences, heads, queries, depth]`
   */
  readonly query: tf.Tensor4D;
  /** `[sequences, heads, tokens, depth]` */
  readonly key: tf.Tensor4D;
  /**
   * For each rank the position of each distance, from `1 - tokens` on, query
   * minus key: `[ranks, heads, 2 * tokens - 1, depth]`
   */
  readonly positionQuery: tf.Tensor4D | undefined;
  readonly positionKey: tf.Tensor4D | undefined;
}

/**
 * Products of contents and positions, `Q_i Pk(i - j) + K_j Pq(i - j)`, the
 * second and third term of equation 4 of arXiv 2006.03654.
 *
 * Every token is multiplied with every distance, and the products are then
 * shifted to the pairs of tokens that they belong to.
 *
 * @returns `[sequences, heads, queries, tokens]`
 */
export function disentangle(
  { query, key, positionQuery, positionKey }: Disentangled,
): tf.Tensor4D {
  const [sequences, , tokens] = key.shape;
  if (query.shape[2] === 1) {
    // From the first token to the keys, distances fall from 0.
    const falling = (positions: tf.Tensor4D) =>
      positions.slice([0, 0, 0, 0], [-1, -1, tokens, -1]).reverse(2);
    return sumOf([
      positionKey && byPosition(query, falling(positionKey))
        .transpose([0, 2, 1, 3]).reshape([sequences, -1, 1, tokens]),
      positionQuery && rowProducts(key, falling(positionQuery)),
    ]) as tf.Tensor4D;
  }
  const ofQueries = positionKey && byPosition(query, positionKey.reverse(2));
  const ofKeys = positionQuery && byPosition(key, positionQuery);
  return shifted(ofQueries, ofKeys).reshape([sequences, -1, tokens, tokens]);
}

function sumOf(terms: readonly (tf.Tensor | undefined)[]): tf.Tensor {
  return terms.flatMap((term) => term ?? [])
    .reduce((sum, term) => sum.add(term));
}

/**
 * `[ranks * batch, heads, rows, depth]` times
 * `[ranks, heads, positions, depth]`: `[ranks, heads, batch * rows, positions]`
 */
function byPosition(x: tf.Tensor4D, positions: tf.Tensor4D): tf.Tensor4D {
  const [sequences, heads, rows, depth] = x.shape;
  const ranks = positions.shape[0];
  const byHead = x.reshape([ranks, sequences / ranks, heads, rows, depth])
    .transpose([0, 2, 1, 3, 4]).reshape([ranks, heads, -1, depth]);
  return tf.matMul(byHead, positions, false, true);
}

/**
 * The dot product of each row with its own position:
 * `[ranks * batch, heads, 1, rows]`
 */
function rowProducts(x: tf.Tensor4D, positions: tf.Tensor4D): tf.Tensor4D {
  const [sequences, heads, rows, depth] = x.shape;
  const ranks = positions.shape[0];
  return x.reshape([ranks, sequences / ranks, heads, rows, depth])
    .mul(positions.reshape([ranks, 1, heads, rows, depth]))
    .sum(-1).reshape([sequences, heads, 1, rows]);
}

/**
 * Products of tokens and distances,
 * `[ranks, heads, batch * tokens, 2 * tokens - 1]`.
 */
type Terms = {
  /** Of queries, distances falling. */
  readonly ofQueries: tf.Tensor | undefined;
  /** Of keys, distances rising. */
  readonly ofKeys: tf.Tensor | undefined;
};

/**
 * Sum of the terms for each pair of tokens, with its own gradient:
 * `[ranks, batch, heads, tokens, tokens]`
 */
function shifted(
  ofQueries: tf.Tensor4D | undefined,
  ofKeys: tf.Tensor4D | undefined,
): tf.Tensor {
  return withGradient(
    { ...(ofQueries && { ofQueries }), ...(ofKeys && { ofKeys }) },
    () => toPairs({ ofQueries, ofKeys }),
    (dy) => fromPairs({ dy }),
  );
}

const toPairs = fused(({ ofQueries, ofKeys }: Terms) => ({
  value: sumOf([
    ofQueries && shift(ofQueries, [0, 2, 1, 3, 4]),
    ofKeys && shift(ofKeys, [0, 2, 1, 4, 3]),
  ]),
}));

const fromPairs = fused(({ dy }: { readonly dy: tf.Tensor }) => ({
  ofQueries: unshift(dy, [0, 2, 1, 3, 4]),
  ofKeys: unshift(dy, [0, 2, 1, 4, 3]),
}), { bfloat16: ["ofQueries", "ofKeys"] });

/**
 * For each pair of tokens `(i, j)` of n the element in row i and column
 * `n - 1 + j - i`. With the first n - 1 elements cut off and the others in rows
 * one element shorter, these are the first n columns.
 *
 * @param x `[ranks, heads, batch * n, 2 n - 1]`
 * @param order Order of the axes `[ranks, heads, batch, n, n]` in the result
 */
function shift(x: tf.Tensor, order: number[]): tf.Tensor {
  const [ranks, heads, , width] = x.shape as [number, number, number, number];
  const n = (width + 1) / 2;
  return x.reshape([-1, n * width])
    .slice([0, n - 1], [-1, n * (width - 1)])
    .reshape([-1, n, width - 1])
    .slice([0, 0, 0], [-1, -1, n])
    .reshape([ranks, heads, -1, n, n]).transpose(order);
}

/**
 * Gradient of {@linkcode shift}: its inverse, with 0 for elements that belong
 * to no pair.
 */
function unshift(pairs: tf.Tensor, order: number[]): tf.Tensor {
  // Each order of axes that is used is its own inverse.
  const ordered: tf.Tensor5D = pairs.transpose(order);
  const [ranks, heads, batch, n] = ordered.shape;
  // On three dimensions, since WebGPU pads tensors of five incorrectly.
  return ordered.reshape([-1, n, n])
    .pad([[0, 0], [0, 0], [0, n - 2]])
    .reshape([-1, n * (2 * n - 2)])
    .pad([[0, 0], [n - 1, 1]])
    .reshape([ranks, heads, batch * n, 2 * n - 1]);
}
