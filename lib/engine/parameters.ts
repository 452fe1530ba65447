import * as tf from "@tensorflow/tfjs-core";
import type { EncoderConfig } from "./config.ts";
import type { LayerAdapters } from "./encoder.ts";
import type { EncoderTensor } from "./fine_tuning/encoder_tensors.ts";
import { normal, type Random } from "./random.ts";
import type { Pooler } from "./weights.ts";

/**
 * Where everything that is trained stands in one flat vector: the adapters,
 * layer by layer as `[4, rank, hidden]` (query A, query B transposed, value A,
 * value B transposed), or the encoder's own weights, or neither; then the head.
 */
export interface ParameterLayout {
  readonly layers: number;
  /** 0 where there are no adapters. */
  readonly rank: number;
  readonly hidden: number;
  readonly labels: number;
  /** Values of all adapters. */
  readonly adapterSize: number;
  /** The encoder's own weights; none where it is frozen. */
  readonly encoder: readonly EncoderTensor[];
  /** Values in all. */
  readonly size: number;
}

/** The parts of the flat vector as tensors. */
export interface Parameters {
  /** One for each layer: `[4, rank, hidden]` */
  readonly adapters: readonly tf.Tensor3D[];
  /** In the order of the layout's `encoder` */
  readonly encoder: readonly tf.Tensor[];
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

/**
 * The layout of adapters and head on a frozen encoder; or of all weights.
 *
 * @param rank 0 for no adapters
 * @param encoder The encoder's weights, if they are trained; then the rank is 0
 */
export function parameterLayout(
  config: EncoderConfig,
  rank: number,
  labels: number,
  encoder: readonly EncoderTensor[] = [],
): ParameterLayout {
  const { layers, hidden } = config;
  const adapterSize = layers * 4 * rank * hidden;
  const encoderSize = encoder.reduce(
    (sum, { shape }) => sum + sizeOf(shape),
    0,
  );
  const head = hidden * hidden + hidden + labels * hidden + labels;
  return {
    layers,
    rank,
    hidden,
    labels,
    adapterSize,
    encoder,
    size: adapterSize + encoderSize + head,
  };
}

/**
 * Values at the start of training: A uniform in ±1/sqrt(in) (Kaiming-uniform
 * with a = sqrt 5, as in microsoft/LoRA), B zero; head weights normal with
 * deviation 0.02 and biases zero, as transformers initializes them; a BERT
 * model's own pooler where there is one. Places of the encoder's weights are
 * left at zero.
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

/** 1 for each value that weight decay shrinks: all but biases and normalizations, the vectors. `[size]` */
export function decayedValues(
  layout: ParameterLayout,
): Float32Array<ArrayBuffer> {
  const decayed = new Float32Array(layout.size);
  let offset = 0;
  for (const shape of partShapes(layout)) {
    const end = offset + sizeOf(shape);
    if (shape.length > 1) decayed.fill(1, offset, end);
    offset = end;
  }
  return decayed;
}

/** Starts of the head's parts in the flat vector. */
export function headOffsets({ size, hidden, labels }: ParameterLayout) {
  const outBias = size - labels;
  const out = outBias - labels * hidden;
  const denseBias = out - hidden;
  const dense = denseBias - hidden * hidden;
  return { dense, denseBias, out, outBias };
}

/** Parts of the flat vector, in the order of {@linkcode parametersOf}. */
export function splitParameters(
  flat: tf.Tensor1D,
  layout: ParameterLayout,
): tf.Tensor[] {
  const shapes = partShapes(layout);
  return tf.split(flat, shapes.map(sizeOf)).map((part, i) =>
    tf.reshape(part, [...shapes[i]!])
  );
}

function partShapes(
  { layers, rank, hidden, labels, encoder }: ParameterLayout,
): (readonly number[])[] {
  return [
    ...Array.from({ length: rank > 0 ? layers : 0 }, () => [4, rank, hidden]),
    ...encoder.map(({ shape }) => shape),
    [hidden, hidden],
    [hidden],
    [labels, hidden],
    [labels],
  ];
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/** Names the parts that {@linkcode splitParameters} gives. */
export function parametersOf(
  parts: readonly tf.Tensor[],
  layout: ParameterLayout,
): Parameters {
  const adapted = layout.rank > 0 ? layout.layers : 0;
  const head = adapted + layout.encoder.length;
  const [denseWeight, denseBias, outWeight, outBias] = parts.slice(head);
  return {
    adapters: parts.slice(0, adapted) as tf.Tensor3D[],
    encoder: parts.slice(adapted, head),
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
