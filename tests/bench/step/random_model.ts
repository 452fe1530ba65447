import { join } from "node:path";
import { parseEncoderConfig } from "../../../lib/engine/config.ts";
import { seededRandom } from "../../../lib/engine/random.ts";
import {
  type TensorValues,
  writeSafetensors,
} from "../../../lib/engine/safetensors/writer.ts";
import type { Model } from "./work.ts";

/** Writes a Hugging Face model folder with random weights, as a fresh model has them. */
export function writeRandomModel(folder: string, { config }: Model): void {
  const text = JSON.stringify(config);
  const { hidden, intermediate, layers, ...sizes } = parseEncoderConfig(text);
  const random = seededRandom(0, "weights");
  const tensors: Record<string, TensorValues> = {};
  const matrix = (name: string, rows: number, columns: number) => {
    // Uniform with the standard deviation of a fresh model, 0.02.
    const values = Float32Array.from(
      { length: rows * columns },
      () => (random.next() - 0.5) * 0.02 * Math.sqrt(12),
    );
    tensors[`${name}.weight`] = { shape: [rows, columns], values };
  };
  const linear = (name: string, outputs: number, inputs: number) => {
    matrix(name, outputs, inputs);
    tensors[`${name}.bias`] = vector(outputs, 0);
  };
  const norm = (name: string) => {
    tensors[`${name}.weight`] = vector(hidden, 1);
    tensors[`${name}.bias`] = vector(hidden, 0);
  };
  matrix("embeddings.word_embeddings", sizes.vocabSize, hidden);
  matrix("embeddings.position_embeddings", sizes.positions, hidden);
  matrix("embeddings.token_type_embeddings", sizes.types, hidden);
  norm("embeddings.LayerNorm");
  for (let i = 0; i < layers; i++) {
    const layer = `encoder.layer.${i}`;
    for (const part of ["query", "key", "value"]) {
      linear(`${layer}.attention.self.${part}`, hidden, hidden);
    }
    linear(`${layer}.attention.output.dense`, hidden, hidden);
    norm(`${layer}.attention.output.LayerNorm`);
    linear(`${layer}.intermediate.dense`, intermediate, hidden);
    linear(`${layer}.output.dense`, hidden, intermediate);
    norm(`${layer}.output.LayerNorm`);
  }
  linear("pooler.dense", hidden, hidden);
  Deno.writeTextFileSync(join(folder, "config.json"), text);
  writeSafetensors(join(folder, "model.safetensors"), tensors);
}

function vector(size: number, value: number): TensorValues {
  return { shape: [size], values: new Float32Array(size).fill(value) };
}
