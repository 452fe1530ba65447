import * as tf from "@tensorflow/tfjs-core";
import type { EncoderConfig } from "./config.ts";
import type { LayerAdapters } from "./encoder.ts";
import { normal, type Random } from "./random.ts";
import type { Pooler } from "./weights.ts";

/**
 * Where everything that is trained stands in one flat vector: the adapters,
 * layer by layer as `[4, rank, hidden]` (query A, query B transposed, value A,
 * value B transposed), then the head.
 */
export interface ParameterLayout {
  readonly layers: number;
  readonly rank: number;
  readonly hidden: number;
  readonly labels: number;
  /** Values of all adapters. */
  readonly adapterSize: number;
  /** Values in all. */
  readonly size: number;
}

/** The parts of the flat vector as tensors. */
export interface Parameters {
  /** One for each layer: `[4, rank, hidden]` */
  readonly adapters: readonly tf.Tensor3D[];
  readonly head: HeadParameters;
}

/** The classification head. */
export interface HeadParameters {
  /** `[hidden, hidden]`: `classifier.dense` in RoBERTa, the pooler in BERT */
  readonly denseWeight: tf.Tensor2D;
  /** `[hidden]` */
  readonly denseBias: tf.Tensor1D;
  /** `[labels, hidden]` */
  readonly outWeight: tf.Tensor2D;
  /** `[labels]` */
  readonly outBias: tf.Tensor1D;
}

export function parameterLayout(
  config: EncoderConfig,
  rank: number,
  labels: number,
): ParameterLayout {
  const { layers, hidden } = config;
  const adapterSize = layers * 4 * rank * hidden;
  const head = hidden * hidden + hidden + labels * hidden + labels;
  return {
    layers,
    rank,
    hidden,
    labels,
    adapterSize,
    size: adapterSize + head,
  };
}

/**
 * Values at the start of training: A uniform in ±1/sqrt(in) (Kaiming-uniform
 * with a = sqrt 5, as in microsoft/LoRA), B zero; head weights normal with
 * deviation 0.02 and biases zero, as transformers initializes them; a BERT
 * model's own pooler where there is one.
 *
 * @returns `[size]`
 */
export function initialParameters(
  layout: ParameterLayout,
  pooler: Pooler | undefined,
  random: Random,
): Float32Array<ArrayBuffer> {
  const { layers, rank, hidden, labels, size } = layout;
  const flat = new Float32Array(size);
  const matrix = rank * hidden;
  const bound = 1 / Math.sqrt(hidden);
  for (let layer = 0; layer < layers; layer++) {
    for (const part of [0, 2]) {
      const start = (layer * 4 + part) * matrix;
      for (let i = 0; i < matrix; i++) {
        flat[start + i] = (2 * random.next() - 1) * bound;
      }
    }
  }
  const { dense, denseBias, out } = headOffsets(layout);
  if (pooler === undefined) {
    for (let i = dense; i < denseBias; i++) flat[i] = 0.02 * normal(random);
  } else {
    flat.set(pooler.weight, dense);
    flat.set(pooler.bias, denseBias);
  }
  for (let i = out; i < out + labels * hidden; i++) {
    flat[i] = 0.02 * normal(random);
  }
  return flat;
}

/** 1 for each value that weight decay shrinks: all but the biases. `[size]` */
export function decayedValues(
  layout: ParameterLayout,
): Float32Array<ArrayBuffer> {
  const decayed = new Float32Array(layout.size).fill(1);
  const { denseBias, out, outBias } = headOffsets(layout);
  decayed.fill(0, denseBias, out);
  decayed.fill(0, outBias);
  return decayed;
}

/** Starts of the head's parts in the flat vector. */
export function headOffsets({ adapterSize, hidden, labels }: ParameterLayout) {
  const dense = adapterSize;
  const denseBias = dense + hidden * hidden;
  const out = denseBias + hidden;
  const outBias = out + labels * hidden;
  return { dense, denseBias, out, outBias };
}

/** Parts of the flat vector, in the order of {@linkcode parametersOf}. */
export function splitParameters(
  flat: tf.Tensor1D,
  layout: ParameterLayout,
): tf.Tensor[] {
  const { layers, rank, hidden, labels } = layout;
  const adapter = 4 * rank * hidden;
  const sizes = [
    ...Array.from({ length: layers }, () => adapter),
    hidden * hidden,
    hidden,
    labels * hidden,
    labels,
  ];
  const shapes = [
    ...Array.from({ length: layers }, () => [4, rank, hidden]),
    [hidden, hidden],
    [hidden],
    [labels, hidden],
    [labels],
  ];
  return tf.split(flat, sizes).map((part, i) => tf.reshape(part, shapes[i]!));
}

/** Names the parts that {@linkcode splitParameters} gives. */
export function parametersOf(
  parts: readonly tf.Tensor[],
  layout: ParameterLayout,
): Parameters {
  const [denseWeight, denseBias, outWeight, outBias] = parts.slice(
    layout.layers,
  );
  return {
    adapters: parts.slice(0, layout.layers) as tf.Tensor3D[],
    head: {
      denseWeight: denseWeight as tf.Tensor2D,
      denseBias: denseBias as tf.Tensor1D,
      outWeight: outWeight as tf.Tensor2D,
      outBias: outBias as tf.Tensor1D,
    },
  };
}

/** Joins gradients of the parts into one flat vector. */
export function joinParameters(parts: readonly tf.Tensor[]): tf.Tensor1D {
  return tf.concat(parts.map((part) => tf.reshape(part, [-1]) as tf.Tensor1D));
}

/** The four matrices of a layer's adapters. */
export function layerAdapters(adapters: tf.Tensor3D): LayerAdapters {
  const [queryA, queryB, valueA, valueB] = tf.unstack(
    adapters,
  ) as tf.Tensor2D[];
  return { queryA: queryA!, queryB: queryB!, valueA: valueA!, valueB: valueB! };
}
