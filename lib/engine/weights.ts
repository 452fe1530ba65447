import * as tf from "@tensorflow/tfjs-core";
import type { EncoderConfig } from "./config.ts";
import { libraryBinding, tensorIds, writtenTensor } from "./backend.ts";
import type { LayerNorm } from "./ops/layer_norm.ts";
import type { Linear } from "./ops/linear.ts";
import type { SafetensorsFile } from "./safetensors/reader.ts";

/** Frozen weights of an encoder. */
export interface EncoderWeights {
  /** `[vocab, hidden]` */
  readonly words: tf.Tensor2D;
  /** `[positions, hidden]` */
  readonly positions: tf.Tensor2D;
  /** `[types, hidden]` */
  readonly types: tf.Tensor2D;
  readonly norm: LayerNorm;
  readonly layers: readonly LayerWeights[];
}

/** Frozen weights of a layer. */
export interface LayerWeights {
  /** Query, key and value in one product, `[3 * hidden, hidden]`; or the query apart, where only one position asks. */
  readonly attention:
    | { readonly queryKeyValue: Linear }
    | { readonly query: Linear; readonly keyValue: Linear };
  readonly attentionOutput: Linear;
  readonly attentionNorm: LayerNorm;
  readonly intermediate: Linear;
  readonly output: Linear;
  readonly outputNorm: LayerNorm;
}

/** The pretrained pooler of a BERT model; values, since it is trained with the head. */
export interface Pooler {
  /** `[hidden, hidden]` */
  readonly weight: Float32Array;
  /** `[hidden]` */
  readonly bias: Float32Array;
}

/** Options of {@linkcode loadEncoder}. */
export interface LoadOptions {
  /** True if the last layer is computed for the classifier's position only. */
  readonly pooledLast: boolean;
}

/**
 * Loads an encoder's frozen weights, tensor by tensor.
 *
 * @throws {SyntaxError} Naming the tensor that is missing or of another shape.
 */
export function loadEncoder(
  file: SafetensorsFile,
  config: EncoderConfig,
  { pooledLast }: LoadOptions,
): EncoderWeights {
  const { hidden, intermediate } = config;
  const read = encoderReader(file, config);

  function linear(
    names: readonly string[],
    inputs: number,
    outputs: number,
  ): Linear {
    const join = (kind: string, shape: readonly number[]) =>
      writtenTensor([names.length * outputs, ...shape.slice(1)], (values) => {
        const size = values.length / names.length;
        names.forEach((name, i) =>
          read(
            `${name}.${kind}`,
            shape,
            values.subarray(i * size, (i + 1) * size),
          )
        );
      });
    return {
      weight: forProducts(join("weight", [outputs, inputs]) as tf.Tensor2D),
      bias: join("bias", [outputs]) as tf.Tensor1D,
    };
  }
  function norm(name: string): LayerNorm {
    return {
      gamma: tf.tensor1d(read(`${name}.weight`, [hidden])),
      beta: tf.tensor1d(read(`${name}.bias`, [hidden])),
      epsilon: config.layerNormEpsilon,
    };
  }
  function table(name: string, rows: number): tf.Tensor2D {
    return writtenTensor([rows, hidden], (values) => {
      read(`embeddings.${name}_embeddings.weight`, [rows, hidden], values);
    }) as tf.Tensor2D;
  }
  function layer(i: number): LayerWeights {
    const name = `encoder.layer.${i}`;
    const [query, key, value] = ["query", "key", "value"].map((part) =>
      `${name}.attention.self.${part}`
    ) as [string, string, string];
    return {
      attention: pooledLast && i === config.layers - 1
        ? {
          query: linear([query], hidden, hidden),
          keyValue: linear([key, value], hidden, hidden),
        }
        : { queryKeyValue: linear([query, key, value], hidden, hidden) },
      attentionOutput: linear(
        [`${name}.attention.output.dense`],
        hidden,
        hidden,
      ),
      attentionNorm: norm(`${name}.attention.output.LayerNorm`),
      intermediate: linear(
        [`${name}.intermediate.dense`],
        hidden,
        intermediate,
      ),
      output: linear([`${name}.output.dense`], intermediate, hidden),
      outputNorm: norm(`${name}.output.LayerNorm`),
    };
  }

  return {
    words: table("word", config.vocabSize),
    positions: table("position", config.positions),
    types: table("token_type", config.types),
    norm: norm("embeddings.LayerNorm"),
    layers: Array.from({ length: config.layers }, (_, i) => layer(i)),
  };
}

/** Loads the pooler of a BERT model. */
export function loadPooler(
  file: SafetensorsFile,
  config: EncoderConfig,
): Pooler {
  const read = encoderReader(file, config);
  return {
    weight: read("pooler.dense.weight", [config.hidden, config.hidden]),
    bias: read("pooler.dense.bias", [config.hidden]),
  };
}

/** Reads a tensor, into memory given or new; it must have the shape. */
export type EncoderReader = (
  name: string,
  shape: readonly number[],
  into?: Float32Array<ArrayBuffer>,
) => Float32Array;

/** Reads tensors by their name inside the encoder; classification models carry a prefix. */
export function encoderReader(
  file: SafetensorsFile,
  { architecture }: EncoderConfig,
): EncoderReader {
  const prefix = file.tensors.has("embeddings.word_embeddings.weight")
    ? ""
    : `${architecture}.`;
  return (name, shape, into) => {
    const entry = file.tensors.get(prefix + name);
    if (entry === undefined) {
      throw new SyntaxError(`"${file.path}" has no tensor "${prefix}${name}"`);
    }
    if (entry.shape.join() !== shape.join()) {
      throw new SyntaxError(
        `"${file.path}": tensor "${prefix}${name}" has shape [${entry.shape}], config.json wants [${shape}]`,
      );
    }
    return file.floats(prefix + name, into);
  };
}

/** A matrix that takes part in products only is kept in the type in which products take it. */
function forProducts(matrix: tf.Tensor2D): tf.Tensor2D {
  const binding = libraryBinding();
  if (binding?.precision === "bf16") binding.narrow(tensorIds([matrix])[0]!);
  return matrix;
}
