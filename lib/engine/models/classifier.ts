import * as tf from "@tensorflow/tfjs-core";
import { elementCount, type SafetensorsFile } from "../safetensors/reader.ts";
import { ChunkedPass } from "./chunked_pass.ts";
import { forward, type Model, type ParameterLayout } from "./model.ts";
import type { ClassifierShape } from "./outline.ts";
import { parameterLayout, type Trainable } from "./parameters.ts";
import {
  type FrozenWeights,
  loadFrozen,
  type ModelRanks,
} from "./pass_weights.ts";
import type { BatchTensors } from "./tensor_pass.ts";

/** A model with the layout of its trained parameters. */
export interface Classifier extends ClassifierShape {
  /** Undefined if the encoder's weights are trained. */
  readonly weights: FrozenWeights | undefined;
}

/**
 * A model's file as a classifier: with adapters on a frozen encoder, with the
 * head alone, or with all weights to be trained. The engine must have been
 * started.
 *
 * @throws {SyntaxError} Naming the tensor that is missing or has another shape.
 * @throws {RangeError} If a target names no module of the model.
 */
export function loadClassifier(
  file: SafetensorsFile,
  model: Model,
  outputs: number,
  trained: Trainable,
): Classifier {
  return {
    model,
    layout: parameterLayout(model, outputs, trained),
    weights: trained === "all" ? undefined : loadFrozen(file, model),
  };
}

/** The classifier with adapters of another rank on the same modules. */
export function atRank(classifier: Classifier, rank: number): Classifier {
  const { model, layout } = classifier;
  if (rank === layout.rank) return classifier;
  const targetModules = layout.modules.map(({ name }) => name);
  return {
    ...classifier,
    layout: parameterLayout(model, layout.outputs, {
      adapter: layout.kind.name,
      loraDropout: layout.loraDropout,
      rank,
      targetModules,
    }),
  };
}

/**
 * Logits at the ranks in use.
 *
 * @param parameters The trained tensors by name, as {@linkcode splitParameters}
 * gives them; each rank may have its own last layer, `[ranks, outputs, width]`
 * @param options.keys Keys of this step's dropout masks, int32
 * `[chunks * dropouts, 2]`; without them, nothing is dropped
 * @param options.givesFeatures True for what the last layer of the head takes
 * instead
 * @param options.chunks Chunks into which the tokens of each sequence are split
 * for threads
 * @returns `[ranks * batch, outputs]`, or of features `[ranks * batch, width]`
 */
export function logitsOf(
  { model, weights, layout }: Classifier,
  parameters: Readonly<Record<string, tf.Tensor>>,
  input: BatchTensors,
  ranks: ModelRanks,
  { keys, givesFeatures, chunks = 1 }: {
    readonly keys?: tf.Tensor2D;
    readonly givesFeatures?: boolean;
    readonly chunks?: number;
  } = {},
): tf.Tensor2D {
  const tensors = { weights, layout, parameters, input, ranks };
  const pass = new ChunkedPass({ ...tensors, givesFeatures }, chunks, keys);
  const { chunks: [logits] } = forward(model, pass, layout.outputs);
  return logits!.value as tf.Tensor2D;
}

/**
 * Splits a flat parameter vector into tensors by name. Inverse of
 * {@linkcode joinParameters}.
 */
export function splitParameters(
  flat: tf.Tensor1D,
  { entries }: ParameterLayout,
): Record<string, tf.Tensor> {
  const all = [...entries.values()];
  if (all.length === 0) return {};
  const parts = flat.split(all.map(({ shape }) => elementCount(shape)));
  return Object.fromEntries(
    all.map(({ name, shape }, i) => [name, parts[i]!.reshape([...shape])]),
  );
}

/** Joins tensors in the order of their layout to one flat vector, `[size]`. */
export function joinParameters(tensors: readonly tf.Tensor[]): tf.Tensor1D {
  return tf.concat(tensors.map((it) => it.reshape<tf.Tensor1D>([-1])));
}
