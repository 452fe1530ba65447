import type { EncoderConfig } from "../config.ts";
import type { SafetensorsFile } from "../safetensors/reader.ts";
import { encoderReader } from "../weights.ts";

/** A weight of an encoder. */
export interface EncoderTensor {
  /** Inside the encoder, as transformers names it: `encoder.layer.0.output.dense.weight` */
  readonly name: string;
  readonly shape: readonly number[];
}

/** All weights of an encoder, from the embeddings upwards; poolers are the head's. */
export function encoderTensors(config: EncoderConfig): EncoderTensor[] {
  const { hidden, intermediate, layers } = config;
  const table = (name: string, rows: number): EncoderTensor => ({
    name: `embeddings.${name}_embeddings.weight`,
    shape: [rows, hidden],
  });
  return [
    table("word", config.vocabSize),
    table("position", config.positions),
    table("token_type", config.types),
    ...norm("embeddings.LayerNorm", hidden),
    ...Array.from({ length: layers }, (_, i) => `encoder.layer.${i}`).flatMap(
      (layer) => [
        ...linear(`${layer}.attention.self.query`, hidden, hidden),
        ...linear(`${layer}.attention.self.key`, hidden, hidden),
        ...linear(`${layer}.attention.self.value`, hidden, hidden),
        ...linear(`${layer}.attention.output.dense`, hidden, hidden),
        ...norm(`${layer}.attention.output.LayerNorm`, hidden),
        ...linear(`${layer}.intermediate.dense`, hidden, intermediate),
        ...linear(`${layer}.output.dense`, intermediate, hidden),
        ...norm(`${layer}.output.LayerNorm`, hidden),
      ],
    ),
  ];
}

function linear(name: string, inputs: number, outputs: number) {
  return [
    { name: `${name}.weight`, shape: [outputs, inputs] },
    { name: `${name}.bias`, shape: [outputs] },
  ];
}

function norm(name: string, hidden: number) {
  return [
    { name: `${name}.weight`, shape: [hidden] },
    { name: `${name}.bias`, shape: [hidden] },
  ];
}

/**
 * Writes the pretrained weights of an encoder to the front of a flat vector,
 * where the layout of all weights has them.
 *
 * @throws {SyntaxError} Naming the tensor that is missing or of another shape.
 */
export function fillEncoder(
  flat: Float32Array,
  file: SafetensorsFile,
  config: EncoderConfig,
): void {
  const read = encoderReader(file, config);
  let offset = 0;
  for (const { name, shape } of encoderTensors(config)) {
    const values = read(name, shape);
    flat.set(values, offset);
    offset += values.length;
  }
}
