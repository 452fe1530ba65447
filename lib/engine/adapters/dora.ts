import type { AdapterKind } from "./adapter.ts";
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
      role: "lengths",
      shape: ["outputs"],
      start: (weight, { inputs, outputs }) =>
        Float32Array.from(
          { length: outputs },
          (_, row) =>
            lengthOf(weight.subarray(row * inputs, (row + 1) * inputs)),
        ),
    },
  },
  merge(weight, adapter, scale) {
    const { values: magnitudes } = adapter[MAGNITUDE]!;
    const gainOf = (row: Float64Array, i: number) =>
      magnitudes[i]! / lengthOf(row);
    return updated(weight, adapter, scale, gainOf);
  },
};

/** Length of a vector. */
function lengthOf(vector: Float32Array | Float64Array): number {
  let sum = 0;
  for (const value of vector) sum += value * value;
  return Math.sqrt(sum);
}
