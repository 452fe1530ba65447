import type * as tf from "@tensorflow/tfjs";
import type { AdapterKind } from "./adapter.ts";
import { lengthOf } from "../vectors.ts";
import { lora, updated } from "./lora.ts";

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
  factors(tensor) {
    const { a, b } = lora.factors(tensor);
    const lengths = tensor(MAGNITUDE);
    return { a, b, gain: { lengths, norms: (w, s) => rowNorms(w, s, a, b) } };
  },
  gainProducts: ({ inputs, outputs }, rank, ranks) =>
    rank * (outputs * inputs + rank * inputs + ranks * rank * outputs),
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
 * @returns `[ranks, out]`
 */
function rowNorms(
  w: tf.Tensor,
  s: tf.Tensor,
  a: tf.Tensor,
  b: tf.Tensor,
): tf.Tensor {
  const [rank, outputs] = b.shape as [number, number];
  const sb: tf.Tensor = s.expandDims(1).mul(b.transpose());
  const gram = a.matMul(a, false, true);
  const ofUpdate = sb.reshape([-1, rank]).matMul(gram);
  const both = w.matMul(a, false, true).mul(2)
    .add(ofUpdate.reshape([-1, outputs, rank]));
  return w.square().sum(1).add(sb.mul(both).sum(2)).sqrt();
}
