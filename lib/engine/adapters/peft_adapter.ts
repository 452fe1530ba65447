import type { EncoderConfig } from "../config.ts";
import { headTensors } from "../head_tensors.ts";
import type { ParameterLayout } from "../parameters.ts";
import type { TensorValues } from "../safetensors/writer.ts";

/** Where a tensor of a PEFT adapter lies in the flat parameter vector. */
interface Place {
  readonly name: string;
  readonly shape: readonly [number, number] | readonly [number];
  readonly offset: number;
  /** True for `lora_B`, whose ranks are rows here and columns in PEFT. */
  readonly transposed: boolean;
}

/**
 * The trained parameters as tensors of a PEFT adapter, row-major `[out, in]`,
 * cut to their first `rank` rows.
 *
 * @param values Flat parameters, `[size]`
 */
export function toPeftTensors(
  values: Float32Array,
  layout: ParameterLayout,
  architecture: EncoderConfig["architecture"],
  rank: number,
): Record<string, TensorValues> {
  const tensors: Record<string, TensorValues> = {};
  for (
    const { name, shape, offset, transposed } of places(layout, architecture)
  ) {
    if (name.endsWith(".lora_A.weight")) {
      tensors[name] = {
        shape: [rank, layout.hidden],
        values: values.slice(offset, offset + rank * layout.hidden),
      };
    } else if (transposed) {
      const columns = new Float32Array(layout.hidden * rank);
      for (let row = 0; row < rank; row++) {
        for (let out = 0; out < layout.hidden; out++) {
          columns[out * rank + row] =
            values[offset + row * layout.hidden + out]!;
        }
      }
      tensors[name] = { shape: [layout.hidden, rank], values: columns };
    } else {
      const size = shape.reduce<number>((product, dim) => product * dim, 1);
      tensors[name] = { shape, values: values.slice(offset, offset + size) };
    }
  }
  return tensors;
}

/**
 * The flat parameter vector from the tensors of a PEFT adapter of the layout's rank.
 *
 * @param read Gives the values of a tensor, after checking that it has this shape
 */
export function fromPeftTensors(
  read: (name: string, shape: readonly number[]) => Float32Array,
  layout: ParameterLayout,
  architecture: EncoderConfig["architecture"],
): Float32Array<ArrayBuffer> {
  const values = new Float32Array(layout.size);
  for (
    const { name, shape, offset, transposed } of places(layout, architecture)
  ) {
    const tensor = read(name, transposed ? [...shape].reverse() : shape);
    if (!transposed) {
      values.set(tensor, offset);
      continue;
    }
    for (let row = 0; row < layout.rank; row++) {
      for (let out = 0; out < layout.hidden; out++) {
        values[offset + row * layout.hidden + out] =
          tensor[out * layout.rank + row]!;
      }
    }
  }
  return values;
}

/** Names of all tensors that an adapter must hold. */
export function peftNames(
  layout: ParameterLayout,
  architecture: EncoderConfig["architecture"],
): string[] {
  return places(layout, architecture).map(({ name }) => name);
}

function places(
  layout: ParameterLayout,
  architecture: EncoderConfig["architecture"],
): Place[] {
  const { layers, rank, hidden } = layout;
  const matrix = rank * hidden;
  const result: Place[] = [];
  for (let layer = 0; layer < layers; layer++) {
    ["query.lora_A", "query.lora_B", "value.lora_A", "value.lora_B"].forEach((
      part,
      i,
    ) =>
      result.push({
        name:
          `base_model.model.${architecture}.encoder.layer.${layer}.attention.self.${part}.weight`,
        shape: [rank, hidden],
        offset: (layer * 4 + i) * matrix,
        transposed: part.endsWith("B"),
      })
    );
  }
  for (const { name, shape, offset } of headTensors(layout, architecture)) {
    result.push({
      name: `base_model.model.${name}`,
      shape,
      offset,
      transposed: false,
    });
  }
  return result;
}
