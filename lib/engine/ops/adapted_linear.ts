import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import type { Linear } from "./linear.ts";

/** A low-rank adapter on a part of a projection's outputs. */
export interface AdapterBlock {
  /** `lora_A`: `[rank, in]` */
  readonly a: tf.Tensor2D;
  /** `lora_B`, transposed so that a rank is a row in both: `[rank, hidden]` */
  readonly b: tf.Tensor2D;
  /** First output that the block adds to. */
  readonly offset: number;
  readonly ranks: RankVectors;
}

/**
 * The ranks in use, as vectors over the rows of the adapters, so that one
 * computation serves every rank: adding zeros is exact.
 */
export interface RankVectors {
  /** `[groups, rank]`: alpha / b for the first b rows, 0 beyond. */
  readonly scale: tf.Tensor2D;
  /** `[rank]`: 1 for the rows whose values get a gradient, else 0. */
  readonly trained: tf.Tensor1D;
}

/** How the rows of a projection are laid out, and what its gradient must give. */
export interface AdaptedLinearOptions {
  /** True if the gradient of `x` is wanted; false below the lowest adapter. */
  readonly inputGradient: boolean;
}

/**
 * A frozen projection with low-rank adapters on some of its outputs:
 * `y = x W^T + c + (s * (x A^T)) B^T`, `s` the scale of the rank in use
 * (arXiv 2210.07558, equation 4).
 *
 * The blocks have a rank each, of as many groups and rows.
 *
 * With several groups, group g uses `scale[g]`. `x` then holds the groups one
 * after the other, or one group that all of them share; the result holds all.
 *
 * The gradients of A and B are masked by {@linkcode RankVectors.trained}; that
 * of `x` passes through all rows in use.
 *
 * @param x `[groups * rows, in]`, or `[rows, in]` shared by all groups
 * @returns `[groups * rows, out]`
 */
export function adaptedLinear(
  x: tf.Tensor2D,
  { weight, bias }: Linear,
  blocks: readonly AdapterBlock[],
  groupRows: number,
  { inputGradient }: AdaptedLinearOptions,
): tf.Tensor2D {
  const [groups, rank] = blocks[0]!.ranks.scale.shape;
  const outputs = weight.shape[0];
  const width = rank * blocks.length;
  const shared = x.shape[0] === groupRows && groups > 1;
  const scale = tf.reshape(
    tf.concat(blocks.map(({ ranks }) => ranks.scale), 1),
    groups === 1 ? [1, width] : [groups, 1, width],
  );
  const trainedRows = blocks.map(({ ranks }) =>
    tf.reshape(ranks.trained, [rank, 1])
  );

  const scaled = (rows: tf.Tensor, by: tf.Tensor): tf.Tensor2D =>
    tf.reshape(
      groups === 1
        ? tf.mul(rows, by)
        : tf.mul(tf.reshape(rows, [-1, groupRows, width]), by),
      [-1, width],
    );

  const project = tf.customGrad((...args) => {
    const save = args.pop() as tf.GradSaveFunc;
    const input = args[0] as tf.Tensor2D;
    const parts = args.slice(inputGradient ? 1 : 0) as tf.Tensor2D[];
    const source = inputGradient ? input : x;
    const down = tf.concat(parts.slice(0, blocks.length), 0);
    const up = tf.concat(
      blocks.map(({ offset, b }, i) =>
        tf.pad(parts[blocks.length + i]!, [[0, 0], [
          offset,
          outputs - offset - b.shape[1],
        ]])
      ),
      0,
    );
    const used = scaled(tf.matMul(source, down, false, true), scale);
    const frozen = tf.matMul(source, weight, false, true);
    const adapted = tf.matMul(used, up);
    save([source, down, up, used, scale, ...trainedRows]);
    return {
      value: shared
        ? tf.reshape(
          addAll([
            frozen,
            bias,
            tf.reshape(adapted, [groups, groupRows, outputs]),
          ])[0]!,
          [groups * groupRows, outputs],
        )
        : addAll([frozen, bias, adapted])[0]!,
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [input, down, up, used, scale, ...trained] =
          saved as tf.Tensor2D[];
        const grad = dy as tf.Tensor2D;
        const dUsed = scaled(tf.matMul(grad, up!, false, true), scale!);
        const dDown = tf.matMul(
          shared
            ? tf.sum(
              tf.reshape(dUsed, [groups, groupRows, width]),
              0,
            ) as tf.Tensor2D
            : dUsed,
          input!,
          true,
          false,
        );
        const dUp = tf.matMul(used!, grad, true, false);
        const dA = tf.split(dDown, blocks.length, 0).map((rows, i) =>
          tf.mul(rows, trained[i]!)
        );
        const dB = blocks.map(({ offset, b }, i) =>
          tf.mul(
            tf.slice(dUp, [i * rank, offset], [rank, b.shape[1]]),
            trained[i]!,
          )
        );
        if (!inputGradient) return [...dA, ...dB];
        return [
          addGradients([tf.matMul(grad, weight), tf.matMul(dUsed, down!)])[0]!,
          ...dA,
          ...dB,
        ];
      },
    };
  });
  const trainable = [...blocks.map(({ a }) => a), ...blocks.map(({ b }) => b)];
  return project(
    ...(inputGradient ? [x, ...trainable] : trainable),
  ) as tf.Tensor2D;
}

const addAll = fused(([x, bias, y]) => [tf.add(tf.add(x!, bias!), y!)], {
  products: [0],
});

const addGradients = fused(([x, y]) => [tf.add(x!, y!)]);
