import * as tf from "@tensorflow/tfjs-core";
import type { AdapterFactors } from "../adapters/adapter.ts";
import { fused } from "../trace.ts";
import {
  drawDropout,
  dropFused,
  type DropoutDraw,
  type DropoutSource,
} from "./dropout.ts";
import { withGradient } from "./gradient.ts";

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
  /**
   * `[rank]`: 1 for the rows that get a gradient, else 0; all of them by
   * default.
   */
  readonly gradientMask?: tf.Tensor1D | undefined;
}

interface AdaptedLinearOptions {
  readonly ranks: RankVectors;
  /** `[out]`; undefined if the caller adds it */
  readonly bias?: tf.Tensor1D | undefined;
  /** Rows of `x` at one rank. */
  readonly rows: number;
  /**
   * Dropout of the input of each A, with a mask for each module, as PEFT's
   * `lora_dropout`.
   */
  readonly dropout?: DropoutSource | undefined;
}

/**
 * A frozen product with adapters on some of its outputs:
 * `y = gain * (x W^T + (s * (x A^T)) B^T) + c`, `s` the scale of the rank in
 * use (arXiv 2210.07558, equation 4), `gain` as the kind of the adapters has
 * it.
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
  const { bias, ranks: { scale } } = options;
  const [ranks] = scale.shape;
  const [outputs] = weight.shape;
  const gains = blocks.flatMap(({ offset, width, gain }) => {
    if (gain === undefined) return [];
    const { lengths } = gain;
    const gains = withGradient({ lengths }, () => {
      const w = weight.slice([offset, 0], [width, -1]);
      const norms = gain.norms(w, scale);
      return { value: lengths.div(norms), norms };
    }, (dy, { norms }) => ({ lengths: dy.div(norms).sum(0) }));
    return gains.pad([[0, 0], [offset, outputs - offset - width]], 1);
  });
  if (gains.length === 0) return lowRankLinear(x, weight, blocks, options);
  const plain = { ...options, bias: undefined };
  const turned = lowRankLinear(x, weight, blocks, plain);
  const gain = gains.reduce((all, gain) => all.mul(gain));
  const y: tf.Tensor2D = turned.reshape([ranks, -1, outputs])
    .mul(gain.reshape([ranks, 1, outputs])).reshape([-1, outputs]);
  return bias === undefined ? y : y.add(bias);
}

/**
 * {@linkcode adaptedLinear} without a gain: `x W^T + c + (s * (x A^T)) B^T`,
 * with its own gradient.
 */
function lowRankLinear(
  x: tf.Tensor2D,
  weight: tf.Tensor2D,
  blocks: readonly AdapterBlock[],
  { bias, rows, dropout, ranks }: AdaptedLinearOptions,
): tf.Tensor2D {
  const [count] = ranks.scale.shape;
  const [outputs] = weight.shape;
  const isShared = x.shape[0] === rows && count > 1;
  const scale = ranks.scale.tile([1, blocks.length]).expandDims(1);
  const draws = blocks.map(() => drawDropout(dropout));
  const isDropped = draws[0]!.maskKey !== undefined;
  const down = tf.concat(blocks.map(({ a }) => masked(a, ranks.gradientMask)));
  const up = tf.concat(blocks.map(({ b, offset, width }) => {
    const after = outputs - offset - width;
    return masked(b, ranks.gradientMask).pad([[0, 0], [offset, after]]);
  }));

  const byRank = (of: tf.Tensor) => of.reshape([-1, rows, of.shape[1]!]);
  const scaled = (of: tf.Tensor, scale: tf.Tensor): tf.Tensor =>
    byRank(of).mul(scale).reshape([-1, scale.shape[2]!]);
  // Each module has a dropout of its own, so that only without one all are one
  // product.
  const parts = (of: tf.Tensor, axis: number) =>
    isDropped ? of.split(blocks.length, axis) : [of];

  return withGradient({ x, down, up }, () => {
    const projected = parts(down, 0)
      .map((a, i) => dropped(x, draws[i]!).matMul(a, false, true));
    const used = scaled(tf.concat(projected, 1), scale);
    const update = used.matMul(up);
    const terms = {
      x: x.matMul(weight, false, true),
      y: isShared ? byRank(update) : update,
    };
    const { sum } = bias ? addBiased({ ...terms, bias }) : addTwo(terms);
    const keys = isDropped
      ? tf.stack(draws.map(({ maskKey }) => maskKey!))
      : undefined;
    return {
      value: sum.reshape([-1, outputs]),
      x,
      weight,
      down,
      up,
      used,
      scale,
      rate: draws[0]!.rate,
      keys,
    };
  }, (dy, { x, weight, down, up, used, scale, rate, keys }) => {
    const draws = keys?.unstack().map((maskKey) => ({ maskKey, rate })) ?? [{}];
    const dUsed = scaled(dy.matMul(up, false, true), scale);
    const dProjected: tf.Tensor = isShared ? byRank(dUsed).sum(0) : dUsed;
    const dDown = parts(dProjected, 1)
      .map((part, i) => part.matMul(dropped(x, draws[i]!), true, false));
    const downs = parts(down, 0);
    return {
      x: () => {
        const ofUpdate = parts(dUsed, 1)
          .map((part, i) => dropped(part.matMul(downs[i]!), draws[i]!))
          .reduce((sum, part) => sum.add(part));
        return addTwo({ x: dy.matMul(weight), y: ofUpdate }).sum;
      },
      down: tf.concat(dDown, 0),
      up: used.matMul(dy, true, false),
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
    () => ({ value: factor.clone(), mask: mask.expandDims(1) }),
    (dy, { mask }) => ({ factor: dy.mul(mask) }),
  );
}

const addBiased = fused(
  ({ x, bias, y }: Record<"x" | "bias" | "y", tf.Tensor>) => ({
    sum: x.add(bias).add(y),
  }),
  { bfloat16: ["sum"] },
);

const addTwo = fused(
  ({ x, y }: Record<"x" | "y", tf.Tensor>) => ({ sum: x.add(y) }),
);
