import type { AdapterKind, ModuleTensors } from "./adapter.ts";
import { productSvd } from "./svd.ts";

/** What follows a module's name in the name of its factor A, `[rank, in]`. */
export const LORA_A = "lora_A.weight";
/** Of its factor B, `[out, rank]`. */
export const LORA_B = "lora_B.weight";

/** LoRA (arXiv 2106.09685): `y = x W^T + c + (s * (x A^T)) B^T`. */
export const lora: AdapterKind = {
  name: "lora",
  title: "LoRA",
  type: { peft_type: "LORA" },
  config: ({ rank, alpha, useRslora, loraDropout }) => ({
    lora_alpha: alpha,
    lora_dropout: loraDropout,
    r: rank,
    ...(useRslora && { use_rslora: true }),
  }),
  // A is Kaiming-uniform with a = sqrt 5, as in microsoft/LoRA.
  tensors: {
    [LORA_A]: { shape: ["rank", "inputs"], start: "uniform" },
    [LORA_B]: { shape: ["outputs", "rank"], start: "zeros" },
  },
  factors: (tensor) => ({ a: tensor(LORA_A), b: tensor(LORA_B) }),
  merge: (weight, adapter, scale) => updated(weight, adapter, scale),
  sort(adapter, kept, scale) {
    const [rank, inputs] = adapter[LORA_A]!.shape as [number, number];
    const [outputs] = adapter[LORA_B]!.shape as [number];
    const size = kept ?? rank;
    const { a, b } = productSvd(valuesOf(adapter), rank).factors(size, scale);
    return {
      ...adapter,
      [LORA_A]: { shape: [size, inputs], values: a },
      [LORA_B]: { shape: [outputs, size], values: b },
    };
  },
  // Two QR decompositions without their orthogonal factors and two products,
  // `2 n r^2` each, and the rotations of the core, about `40 r^3`.
  sortFlops: ({ inputs, outputs }, rank) =>
    4 * (inputs + outputs) * rank ** 2 + 40 * rank ** 3,
};

function valuesOf({ [LORA_A]: a, [LORA_B]: b }: ModuleTensors) {
  return { a: a!.values as Float32Array, b: b!.values as Float32Array };
}

/**
 * A weight with a low-rank update added, `W + scale B A`, in float64.
 *
 * @param gainOf Multiplies a row of the result
 * @returns `[out, in]`
 */
export function updated(
  weight: Float32Array,
  adapter: ModuleTensors,
  scale: number,
  gainOf: (row: Float64Array, i: number) => number = () => 1,
): Float32Array {
  const { a, b } = valuesOf(adapter);
  const [rank, inputs] = adapter[LORA_A]!.shape as [number, number];
  const merged = new Float32Array(weight.length);
  const row = new Float64Array(inputs);
  const outputs = weight.length / inputs;
  for (let output = 0; output < outputs; output++) {
    const start = output * inputs;
    row.fill(0);
    for (let k = 0; k < rank; k++) {
      const factor = b[output * rank + k]!;
      const from = k * inputs;
      for (let i = 0; i < inputs; i++) row[i]! += factor * a[from + i]!;
    }
    for (let i = 0; i < inputs; i++) {
      row[i] = weight[start + i]! + scale * row[i]!;
    }
    const gain = gainOf(row, output);
    for (let i = 0; i < inputs; i++) merged[start + i] = gain * row[i]!;
  }
  return merged;
}
