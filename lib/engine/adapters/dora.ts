import type * as tfjs from "@tensorflow/tfjs-core";
import type { AdapterKind, AdapterOps, ModuleBlock } from "./adapter.ts";
import { lora, LORA_A, LORA_B, updated } from "./lora.ts";

const MAGNITUDE = "lora_magnitude_vector";

/**
 * DoRA (arXiv 2402.09353): LoRA's update turns the rows of a weight, whose
 * lengths m are trained as well:
 *
 *     y = m / ||W + s B A|| * (x W^T + (s * (x A^T)) B^T) + c
 *
 * The norm, one for each row, has no gradient (its section 4.3).
 */
export const dora: AdapterKind = {
  ...lora,
  name: "dora",
  title: "DoRA",
  type: { ...lora.type, use_dora: true },
  tensors: {
    ...lora.tensors,
    [MAGNITUDE]: {
      shape: ["outputs"],
      start: (weight, { inputs, outputs }) =>
        Float32Array.from(
          { length: outputs },
          (_, row) =>
            lengthOf(weight.subarray(row * inputs, (row + 1) * inputs)),
        ),
    },
  },
  operations(product) {
    const { inputs, adapted, rank, ranks } = product;
    const ofLengths = adapted.reduce(
      (sum, width) =>
        sum + rank * (width * inputs + rank * (inputs + ranks * width)),
      0,
    );
    const { forward, backward } = lora.operations(product);
    return { forward: forward + ofLengths, backward };
  },
  product(ops, x, frozen, bias, blocks, options) {
    const { tf, withGradient } = ops;
    const [ranks] = blocks[0]!.ranks.scale.shape;
    const [outputs] = frozen.weight.shape;
    const turned = lora.product(ops, x, frozen, undefined, blocks, options);
    const gains = blocks.map((block) => {
      const { tensors, offset, width } = block;
      const gains = withGradient(
        { lengths: tensors[MAGNITUDE]! },
        ({ lengths }) => {
          const own = rowLengths(ops, frozen, block);
          return { value: tf.div(lengths, own), saved: { own } };
        },
        (dy, { own }) => ({ lengths: tf.sum(tf.div(dy, own), 0) }),
      );
      return tf.pad(gains, [[0, 0], [offset, outputs - offset - width]], 1);
    }).reduce((all, gains) => tf.mul(all, gains));
    const y: tfjs.Tensor2D = tf.reshape(
      tf.mul(
        tf.reshape(turned, [ranks, -1, outputs]),
        tf.reshape(gains, [ranks, 1, outputs]),
      ),
      [-1, outputs],
    );
    return bias === undefined ? y : tf.add(y, bias);
  },
  merge(weight, adapter, scale) {
    const { values: magnitudes } = adapter[MAGNITUDE]!;
    const gainOf = (row: Float64Array, i: number) =>
      magnitudes[i]! / lengthOf(row);
    return updated(weight, adapter, scale, gainOf);
  },
};

/**
 * The lengths of the rows of `W + s B A` at each rank, without forming them:
 * `||w||^2 + 2 s b (A w) + s b (A A^T) (s b)^T` of the rows w of W and b of B.
 *
 * @returns `[ranks, width]`
 */
function rowLengths(
  { tf }: AdapterOps,
  { weight }: Parameters<AdapterKind["product"]>[2],
  { tensors, offset, width, ranks }: ModuleBlock,
): tfjs.Tensor {
  const a = tensors[LORA_A] as tfjs.Tensor2D;
  const w = tf.slice(weight, [offset, 0], [width, -1]);
  const b = tf.mul(
    tf.expandDims(ranks.scale, 1),
    tf.transpose(tensors[LORA_B]!),
  );
  const rank = a.shape[0];
  const gram = tf.matMul(a, a, false, true);
  const own = tf.matMul(tf.reshape(b, [-1, rank]) as tfjs.Tensor2D, gram);
  const both = tf.add(
    tf.mul(tf.matMul(w, a, false, true), 2),
    tf.reshape(own, [-1, width, rank]),
  );
  const squares = tf.add(tf.sum(tf.square(w), 1), tf.sum(tf.mul(b, both), 2));
  return tf.sqrt(squares);
}

/** Length of a vector. */
function lengthOf(vector: Float32Array | Float64Array): number {
  let sum = 0;
  for (const value of vector) sum += value * value;
  return Math.sqrt(sum);
}
