import type { EncoderConfig } from "../config.ts";
import { headTensors } from "../head_tensors.ts";
import type { ParameterLayout } from "../parameters.ts";
import type { TensorValues } from "../safetensors/writer.ts";

/**
 * The parameters of a layout without adapters, as transformers names them in
 * a model for the classification of sequences: of all weights, or of the head
 * alone if the encoder is not among them.
 *
 * @param values Flat parameters, `[size]`
 */
export function toClassifierTensors(
  values: Float32Array,
  layout: ParameterLayout,
  architecture: EncoderConfig["architecture"],
): Record<string, TensorValues> {
  return Object.fromEntries(
    places(layout, architecture).map(({ name, shape, offset }) => {
      const size = shape.reduce((product, dim) => product * dim, 1);
      return [name, { shape, values: values.slice(offset, offset + size) }];
    }),
  );
}

/**
 * The flat parameter vector of such a layout.
 *
 * @param read Gives the values of a tensor, after checking that it has this shape
 */
export function fromClassifierTensors(
  read: (name: string, shape: readonly number[]) => Float32Array,
  layout: ParameterLayout,
  architecture: EncoderConfig["architecture"],
): Float32Array<ArrayBuffer> {
  const values = new Float32Array(layout.size);
  for (const { name, shape, offset } of places(layout, architecture)) {
    values.set(read(name, shape), offset);
  }
  return values;
}

function places(
  layout: ParameterLayout,
  architecture: EncoderConfig["architecture"],
): { name: string; shape: readonly number[]; offset: number }[] {
  let offset = 0;
  const encoder = layout.encoder.map(({ name, shape }) => {
    const place = { name: `${architecture}.${name}`, shape, offset };
    offset += shape.reduce((product, dim) => product * dim, 1);
    return place;
  });
  return [...encoder, ...headTensors(layout, architecture)];
}
