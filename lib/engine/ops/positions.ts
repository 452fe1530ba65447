import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import { lookUpTrained } from "./embedding.ts";
import { withGradient } from "./gradient.ts";

/**
 * Rotary positions (arXiv 2104.09864), the halves of the depth paired as in
 * GPT-NeoX, with its own gradient, which turns the other way.
 *
 * @param x `[sequences, heads, tokens, depth]`
 * @param theta Base of the frequencies `theta^(-2 i / depth)`
 */
export function rotary(x: tf.Tensor4D, theta: number): tf.Tensor4D {
  const [, , tokens, depth] = x.shape;
  const { cos, sin } = angles(tokens, depth, theta);
  return withGradient(
    { x: x as tf.Tensor },
    ({ x }) => ({ value: turn({ x, cos, sin }).value, saved: { cos, sin } }),
    (dy, { cos, sin }) => ({
      x: turn({ x: dy, cos, sin: tf.neg(sin) }).value,
    }),
  ) as tf.Tensor4D;
}

const turn = fused(
  ({ x, cos, sin }: Record<"x" | "cos" | "sin", tf.Tensor>) => {
    const [left, right] = tf.split(x, 2, -1) as [tf.Tensor, tf.Tensor];
    return {
      value: tf.concat([
        tf.sub(tf.mul(left, cos), tf.mul(right, sin)),
        tf.add(tf.mul(right, cos), tf.mul(left, sin)),
      ], -1),
    };
  },
  { products: ["value"] },
);

/** Cosines and sines of every position and frequency: `[tokens, depth / 2]`, rounded as in float32. */
function angles(
  tokens: number,
  depth: number,
  theta: number,
): { readonly cos: tf.Tensor2D; readonly sin: tf.Tensor2D } {
  const half = depth / 2;
  const { fround } = Math;
  const values = Float32Array.from({ length: tokens * half }, (_, i) => {
    const exponent = fround(2 * (i % half) / depth);
    const frequency = fround(1 / fround(theta ** exponent));
    return Math.floor(i / half) * frequency;
  });
  return {
    cos: tf.tensor2d(values.map(Math.cos), [tokens, half]),
    sin: tf.tensor2d(values.map(Math.sin), [tokens, half]),
  };
}

/**
 * A table of biases by distance, spread over queries and keys.
 *
 * @param table `[buckets, heads]`
 * @param bucket Row of the table for a distance, key minus query
 * @param factor Of all biases
 * @returns `[1, heads, tokens, tokens]`
 */
export function positionBias(
  table: tf.Tensor2D,
  tokens: number,
  bucket: (distance: number) => number,
  factor: number,
): tf.Tensor4D {
  const heads = table.shape[1];
  const rows = Int32Array.from(
    { length: tokens * tokens },
    (_, i) => bucket(i % tokens - Math.floor(i / tokens)),
  );
  const biases = lookUpTrained(
    table,
    tf.tensor2d(rows, [1, tokens * tokens], "int32"),
  );
  return tf.reshape(tf.mul(tf.transpose(biases), factor), [
    1,
    heads,
    tokens,
    tokens,
  ]);
}

/** Heads of contents, or of relative positions. */
interface Disentangled {
  /** Queries `[sequences, heads, queries, depth]`, of all tokens or of the first of each sequence alone. */
  readonly query: tf.Tensor4D;
  /** `[sequences, heads, tokens, depth]` */
  readonly key: tf.Tensor4D;
  /** For each rank `[1, heads, 2 * tokens - 1, depth]`: the position of each distance, from `1 - tokens` on, query minus key. */
  readonly positionQuery: tf.Tensor4D | undefined;
  readonly positionKey: tf.Tensor4D | undefined;
}

/**
 * Products of contents and positions, `Q_i Pk(i - j) + K_j Pq(i - j)`, the
 * second and third term of equation 4 of arXiv 2006.03654.
 *
 * Every distance is multiplied once, not once for each pair of tokens; the
 * products of a row are then shifted to the pairs they belong to.
 *
 * @returns `[sequences, heads, queries, tokens]`
 */
export function disentangle(
  { query, key, positionQuery, positionKey }: Disentangled,
): tf.Tensor4D {
  const tokens = key.shape[2];
  const queries = query.shape[2];
  // With the first token alone, only its distances to the keys are needed: from 0 down.
  const needed = (positions: tf.Tensor4D): tf.Tensor4D =>
    tf.reverse(
      queries === 1
        ? tf.slice(positions, [0, 0, 0, 0], [-1, -1, tokens, -1])
        : positions,
      2,
    );
  const terms: tf.Tensor[] = [];
  if (positionKey !== undefined) {
    const products = byPosition(query, needed(positionKey));
    terms.push(queries === 1 ? products : shift(products));
  }
  if (positionQuery !== undefined) {
    if (queries === 1) {
      terms.push(rowProducts(key, needed(positionQuery)));
    } else {
      const products = shift(byPosition(key, positionQuery));
      terms.push(tf.transpose(products, [0, 1, 3, 2]));
    }
  }
  return terms.reduce((sum, term) => tf.add(sum, term)) as tf.Tensor4D;
}

/** `[ranks * batch, heads, rows, depth]` times `[ranks, heads, positions, depth]` transposed. */
function byPosition(x: tf.Tensor4D, positions: tf.Tensor4D): tf.Tensor4D {
  const [sequences, heads, rows, depth] = x.shape;
  const [ranks, , width] = positions.shape;
  const batch = sequences / ranks;
  const byHead = tf.reshape(
    tf.transpose(
      tf.reshape(x, [ranks, batch, heads, rows, depth]),
      [0, 2, 1, 3, 4],
    ),
    [ranks, heads, batch * rows, depth],
  );
  const products = tf.matMul(byHead, positions, false, true);
  return tf.reshape(
    tf.transpose(
      tf.reshape(products, [ranks, heads, batch, rows, width]),
      [0, 2, 1, 3, 4],
    ),
    [sequences, heads, rows, width],
  );
}

/** The dot product of each row with its own position: `[ranks * batch, heads, 1, rows]`. */
function rowProducts(x: tf.Tensor4D, positions: tf.Tensor4D): tf.Tensor4D {
  const [sequences, heads, rows, depth] = x.shape;
  const ranks = positions.shape[0];
  const products = tf.mul(
    tf.reshape(x, [ranks, sequences / ranks, heads, rows, depth]),
    tf.reshape(positions, [ranks, 1, heads, rows, depth]),
  );
  return tf.reshape(tf.sum(products, -1), [sequences, heads, 1, rows]);
}

/** `[.., n, 2 n - 1]` -> `[.., n, n]`: element `(i, j)` is that of column `n - 1 + j - i`. */
function shift(products: tf.Tensor4D): tf.Tensor4D {
  const [sequences, heads, n] = products.shape;
  // Rows one longer, cut anew into rows of the old length, each begin one column later.
  const longer = tf.reshape(
    tf.pad(products, [[0, 0], [0, 0], [0, 0], [0, 1]]),
    [sequences, heads, n * 2 * n],
  );
  const cut = tf.reshape(
    tf.slice(longer, [0, 0, n - 1], [-1, -1, n * (2 * n - 1)]),
    [sequences, heads, n, 2 * n - 1],
  ) as tf.Tensor4D;
  return tf.slice(cut, [0, 0, 0, 0], [-1, -1, n, n]);
}
