import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import {
  drawDropout,
  dropFused,
  type DropoutDraw,
  type DropoutSource,
} from "./dropout.ts";
import { withGradient } from "./gradient.ts";

/** What a low-rank adapter learns of a module. */
export interface AdapterFactors {
  /** `lora_A`: `[rank, in]` */
  readonly a: tf.Tensor;
  /** `lora_B`, transposed so that a rank is a row of both factors: `[rank, width]` */
  readonly b: tf.Tensor;
  /** Lengths of the rows of `W + s B A`, where these are learnt (DoRA): `[width]` */
  readonly lengths?: tf.Tensor;
}

/** An adapter on one of the modules of a joined product. */
export interface AdapterBlock extends AdapterFactors {
  /** Outputs of the module. */
  readonly width: number;
  /** First output of the module. */
  readonly offset: number;
}

/**
 * The ranks in use, as vectors over the rows of an adapter, so that one
 * computation serves every rank: adding zeros is exact.
 */
export interface RankVectors {
  /** `[ranks, rank]`: the scale at rank b for the first b rows, 0 beyond. */
  readonly scale: tf.Tensor2D;
  /** `[rank]`: 1 for the rows that get a gradient, else 0; all of them by default. */
  readonly gradientMask?: tf.Tensor1D | undefined;
}

/** Options of {@linkcode adaptedLinear}. */
interface AdaptedLinearOptions {
  readonly ranks: RankVectors;
  /** `[out]`; undefined if the caller adds it */
  readonly bias?: tf.Tensor1D | undefined;
  /** Rows of `x` at one rank. */
  readonly rows: number;
  /** Dropout of the input of each A, with a mask for each module, as PEFT's `lora_dropout`. */
  readonly dropout?: DropoutSource | undefined;
}

/**
 * A frozen product with adapters on some of its outputs:
 * `y = x W^T + c + (s * (x A^T)) B^T`, `s` the scale of the rank in use
 * (arXiv 2210.07558, equation 4). Where the adapters learn lengths m, it is
 * `y = m / ||W + s B A|| * (x W^T + (s * (x A^T)) B^T) + c`, the norm one for
 * each row and without a gradient (arXiv 2402.09353, section 4.3).
 *
 * At several ranks, rank g uses `scale[g]`. `x` then holds the rows of each
 * rank one after the other, or rows that all ranks share; the result holds all.
 *
 * In training, x may have a dropout before A, though not before W.
 *
 * The gradients of A and B are masked by `gradientMask`; that of `x` passes
 * through all rows in use.
 *
 * @param x `[ranks * rows, in]`, or `[rows, in]` shared by all ranks
 * @param weight Frozen, `[out, in]`
 * @returns `[ranks * rows, out]`
 */
export function adaptedLinear(
  x: tf.Tensor2D,
  weight: tf.Tensor2D,
  blocks: readonly AdapterBlock[],
  options: AdaptedLinearOptions,
): tf.Tensor2D {
  if (!blocks[0]!.lengths) return lowRankLinear(x, weight, blocks, options);
  const [ranks] = options.ranks.scale.shape;
  const [outputs] = weight.shape;
  const plain = { ...options, bias: undefined };
  const turned = lowRankLinear(x, weight, blocks, plain);
  const gains = blocks.map(({ offset, width, ...block }) => {
    const gains = withGradient({ lengths: block.lengths! }, ({ lengths }) => {
      const w = tf.slice(weight, [offset, 0], [width, -1]);
      const own = rowLengths(w, block, options.ranks);
      return { value: tf.div(lengths, own), saved: { own } };
    }, (dy, { own }) => ({ lengths: tf.sum(tf.div(dy, own), 0) }));
    return tf.pad(gains, [[0, 0], [offset, outputs - offset - width]], 1);
  }).reduce((all, gains) => tf.mul(all, gains));
  const y: tf.Tensor2D = tf.reshape(
    tf.mul(
      tf.reshape(turned, [ranks, -1, outputs]),
      tf.reshape(gains, [ranks, 1, outputs]),
    ),
    [-1, outputs],
  );
  return options.bias === undefined ? y : tf.add(y, options.bias);
}

/**
 * The lengths of the rows of `W + s B A` at each rank, without forming them:
 * `||w||^2 + 2 s b (A w) + s b (A A^T) (s b)^T` of the rows w of W and b of B.
 *
 * @param w `[width, in]`
 * @returns `[ranks, width]`
 */
function rowLengths(
  w: tf.Tensor2D,
  { a, b }: AdapterFactors,
  { scale }: RankVectors,
): tf.Tensor {
  const [rank] = a.shape as [number];
  const [width] = w.shape;
  const scaled = tf.mul(tf.expandDims(scale, 1), tf.transpose(b));
  const gram = tf.matMul(a, a, false, true);
  const own = tf.matMul(tf.reshape(scaled, [-1, rank]), gram);
  const both = tf.add(
    tf.mul(tf.matMul(w as tf.Tensor, a, false, true), 2),
    tf.reshape(own, [-1, width, rank]),
  );
  const ofW = tf.sum(tf.square(w), 1);
  return tf.sqrt(tf.add(ofW, tf.sum(tf.mul(scaled, both), 2)));
}

/** {@linkcode adaptedLinear} without lengths: `x W^T + c + (s * (x A^T)) B^T`, with its own gradient. */
function lowRankLinear(
  x: tf.Tensor2D,
  weight: tf.Tensor2D,
  blocks: readonly AdapterBlock[],
  { bias, rows, dropout, ranks }: AdaptedLinearOptions,
): tf.Tensor2D {
  const [count] = ranks.scale.shape;
  const [outputs] = weight.shape;
  const isShared = x.shape[0] === rows && count > 1;
  const scale = tf.expandDims(tf.tile(ranks.scale, [1, blocks.length]), 1);
  const draws = blocks.map(() => drawDropout(dropout));
  const isDropped = draws[0]!.maskKey !== undefined;
  const inputs = {
    x,
    down: tf.concat(blocks.map(({ a }) => masked(a, ranks.gradientMask))),
    up: tf.concat(blocks.map(({ b, offset, width }) => {
      const after = outputs - offset - width;
      return tf.pad(masked(b, ranks.gradientMask), [[0, 0], [offset, after]]);
    })),
  };

  const byRank = (of: tf.Tensor) => tf.reshape(of, [-1, rows, of.shape[1]!]);
  const scaled = (of: tf.Tensor, scale: tf.Tensor): tf.Tensor =>
    tf.reshape(tf.mul(byRank(of), scale), [-1, scale.shape[2]!]);
  // Each module has a dropout of its own, so that only without one all are one product.
  const parts = (of: tf.Tensor, axis: number) =>
    isDropped ? tf.split(of, blocks.length, axis) : [of];

  return withGradient(inputs, ({ down, up }) => {
    const projected = parts(down, 0).map((a, i) =>
      tf.matMul(dropped(x, draws[i]!), a, false, true)
    );
    const used = scaled(tf.concat(projected, 1), scale);
    const terms = {
      x: tf.matMul(x as tf.Tensor, weight, false, true),
      y: isShared ? byRank(tf.matMul(used, up)) : tf.matMul(used, up),
    };
    const { sum } = bias ? addBiased({ ...terms, bias }) : addTwo(terms);
    const saved = { x, weight, down, up, used, scale, rate: draws[0]!.rate };
    return {
      value: tf.reshape(sum, [-1, outputs]),
      saved: {
        ...saved,
        keys: isDropped
          ? tf.stack(draws.map(({ maskKey }) => maskKey!))
          : undefined,
      },
    };
  }, (dy, { x, weight, down, up, used, scale, rate, keys }) => {
    const draws = keys === undefined
      ? [{}]
      : tf.unstack(keys).map((maskKey) => ({ maskKey, rate }));
    const dUsed = scaled(tf.matMul(dy, up, false, true), scale);
    const dProjected = isShared ? tf.sum(byRank(dUsed), 0) : dUsed;
    const dDown = parts(dProjected, 1).map((part, i) =>
      tf.matMul(part, dropped(x, draws[i]!), true, false)
    );
    const downs = parts(down, 0);
    return {
      x: () => {
        const ofUpdate = parts(dUsed, 1).map((part, i) =>
          dropped(tf.matMul(part, downs[i]!), draws[i]!)
        ).reduce((sum, part) => tf.add(sum, part));
        const ofWeight = tf.matMul(dy, weight as tf.Tensor);
        return addTwo({ x: ofWeight, y: ofUpdate }).sum;
      },
      down: tf.concat(dDown, 0),
      up: tf.matMul(used, dy, true, false),
    };
  }) as tf.Tensor2D;
}

function dropped(x: tf.Tensor, draw: DropoutDraw): tf.Tensor {
  return draw.maskKey === undefined ? x : dropFused({ x, ...draw }).value;
}

/** A factor, whose gradient is that of the rows that are trained. */
function masked(factor: tf.Tensor, mask: tf.Tensor1D | undefined): tf.Tensor {
  if (mask === undefined) return factor;
  return withGradient(
    { factor },
    () => ({
      value: tf.clone(factor),
      saved: { mask: tf.expandDims(mask, 1) },
    }),
    (dy, { mask }) => ({ factor: tf.mul(dy, mask) }),
  );
}

const addBiased = fused(
  ({ x, bias, y }: Record<"x" | "bias" | "y", tf.Tensor>) => ({
    sum: tf.add(tf.add(x, bias), y),
  }),
  { products: ["sum"] },
);

const addTwo = fused(
  ({ x, y }: Record<"x" | "y", tf.Tensor>) => ({ sum: tf.add(x, y) }),
);
