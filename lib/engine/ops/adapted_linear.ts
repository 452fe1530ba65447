import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import { drawDropout, dropFused, type DropoutSource } from "./dropout.ts";
import { withGradient } from "./gradient.ts";

/** A frozen weight `[out, in]`. It is read again for the gradient, since a part of a larger weight does not outlive the pass. */
export interface FrozenWeight {
  readonly weight: tf.Tensor2D;
}

/**
 * `x W^T` with W frozen: only `x` gets a gradient.
 *
 * @param x `[rows, in]`
 * @returns `[rows, out]`
 */
export function frozenProduct(
  x: tf.Tensor2D,
  frozen: FrozenWeight,
): tf.Tensor2D {
  return withGradient(
    { x: x as tf.Tensor },
    ({ x }) => ({ value: tf.matMul(x, frozen.weight, false, true), saved: {} }),
    (dy) => ({ x: tf.matMul(dy, frozen.weight) }),
  ) as tf.Tensor2D;
}

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
  /** `[rank]`: 1 for the rows that get a gradient, else 0; the same for all modules of a product. */
  readonly gradientMask: tf.Tensor1D;
}

/** Options of {@linkcode adaptedLinear}. */
interface AdaptedLinearOptions {
  readonly ranks: RankVectors;
  /** `[out]`; undefined if the caller adds it */
  readonly bias?: tf.Tensor1D | undefined;
  /** Rows of `x` at one rank. */
  readonly rows: number;
  /** False if `x` depends on no trained parameter, so that its gradient is not needed. */
  readonly inputGradient: boolean;
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
 * @returns `[ranks * rows, out]`
 */
export function adaptedLinear(
  x: tf.Tensor2D,
  frozen: FrozenWeight,
  blocks: readonly AdapterBlock[],
  options: AdaptedLinearOptions,
): tf.Tensor2D {
  if (!blocks[0]!.lengths) return lowRankLinear(x, frozen, blocks, options);
  const [ranks] = options.ranks.scale.shape;
  const [outputs] = frozen.weight.shape;
  const plain = { ...options, bias: undefined };
  const turned = lowRankLinear(x, frozen, blocks, plain);
  const gains = blocks.map(({ offset, width, ...block }) => {
    const gains = withGradient({ lengths: block.lengths! }, ({ lengths }) => {
      const w = tf.slice(frozen.weight, [offset, 0], [width, -1]);
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

/** {@linkcode adaptedLinear} without lengths, with its own gradient. */
function lowRankLinear(
  x: tf.Tensor2D,
  frozen: FrozenWeight,
  blocks: readonly AdapterBlock[],
  { bias, rows, inputGradient, dropout, ...options }: AdaptedLinearOptions,
): tf.Tensor2D {
  const [ranks, rank] = options.ranks.scale.shape;
  const allRanks = rank * blocks.length;
  const isShared = x.shape[0] === rows && ranks > 1;
  const scale = tf.reshape(
    tf.tile(options.ranks.scale, [1, blocks.length]),
    ranks === 1 ? [1, allRanks] : [ranks, 1, allRanks],
  );
  const mask = tf.reshape(options.ranks.gradientMask, [rank, 1]);

  const scaled = (rowsOf: tf.Tensor, by: tf.Tensor): tf.Tensor2D =>
    tf.reshape(
      ranks === 1
        ? tf.mul(rowsOf, by)
        : tf.mul(tf.reshape(rowsOf, [-1, rows, allRanks]), by),
      [-1, allRanks],
    );
  const add = (frozen: tf.Tensor, adapted: tf.Tensor): tf.Tensor =>
    bias === undefined
      ? addTwo({ x: frozen, y: adapted }).sum
      : addBiased({ x: frozen, bias, y: adapted }).sum;

  const draws = blocks.map(() => drawDropout(dropout));
  const isDropped = draws[0]!.maskKey !== undefined;

  const inputs: Record<string, tf.Tensor> = {
    ...(inputGradient && { x }),
    ...named("A", blocks.map(({ a }) => a)),
    ...named("B", blocks.map(({ b }) => b)),
  };
  return withGradient(inputs, (inputs) => {
    const source: tf.Tensor = inputs.x ?? x;
    const { weight } = frozen;
    const [outputs] = weight.shape;
    const down = tf.concat(blocks.map((_, i) => inputs[`A${i}`]!), 0);
    const up = tf.concat(
      blocks.map(({ offset, width }, i) => {
        const after = outputs - offset - width;
        return tf.pad(inputs[`B${i}`]!, [[0, 0], [offset, after]]);
      }),
      0,
    );
    const projected = isDropped
      ? tf.concat(
        draws.map((draw, i) => {
          const { value } = dropFused({ x: source, ...draw });
          return tf.matMul(value, inputs[`A${i}`]!, false, true);
        }),
        1,
      )
      : tf.matMul(source, down, false, true);
    const used = scaled(projected, scale);
    const product = tf.matMul(source, weight as tf.Tensor, false, true);
    const adapted = tf.matMul(used, up);
    const value = isShared
      ? tf.reshape(
        add(product, tf.reshape(adapted, [ranks, rows, outputs])),
        [ranks * rows, outputs],
      )
      : add(product, adapted);
    const saved = { source, down, up, used, scale, mask };
    return {
      value,
      saved: {
        ...saved,
        ...isDropped && named("key", draws.map(({ maskKey }) => maskKey!)),
        ...isDropped && { rate: draws[0]!.rate! },
      },
    };
  }, (dy, { source, down, up, used, scale, mask, rate, ...keys }) => {
    const dropped = (x: tf.Tensor, i: number) => {
      const maskKey = (keys as Record<string, tf.Tensor>)[`key${i}`];
      return dropFused({ x, maskKey, rate }).value;
    };
    const ofBlocks = (rowsOf: tf.Tensor) => tf.split(rowsOf, blocks.length, 1);
    const dUsed: tf.Tensor = scaled(tf.matMul(dy, up, false, true), scale);
    const ofSource = isShared
      ? tf.sum(tf.reshape(dUsed, [ranks, rows, allRanks]), 0)
      : dUsed;
    const dDown = isDropped
      ? tf.concat(
        ofBlocks(ofSource).map((part, i) =>
          tf.matMul(part, dropped(source, i), true, false)
        ),
        0,
      )
      : tf.matMul(ofSource, source, true, false);
    const dUp = tf.matMul(used, dy, true, false);
    const dA = tf.split(dDown, blocks.length, 0)
      .map((part) => tf.mul(part, mask));
    const dB = blocks.map(({ offset, width }, i) =>
      tf.mul(tf.slice(dUp, [i * rank, offset], [rank, width]), mask)
    );
    return {
      ...(inputGradient && {
        x: addTwo({
          x: tf.matMul(dy, frozen.weight as tf.Tensor),
          y: isDropped
            ? tf.addN(
              ofBlocks(dUsed).map((part, i) =>
                dropped(
                  tf.matMul(part, tf.slice(down, [i * rank, 0], [rank, -1])),
                  i,
                )
              ),
            )
            : tf.matMul(dUsed, down),
        }).sum,
      }),
      ...named("A", dA),
      ...named("B", dB),
    };
  }) as tf.Tensor2D;
}

function named(
  name: string,
  tensors: readonly tf.Tensor[],
): Record<string, tf.Tensor> {
  return Object.fromEntries(tensors.map((it, i) => [`${name}${i}`, it]));
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
