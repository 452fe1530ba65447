import * as tf from "@tensorflow/tfjs-core";
import type { EncoderConfig } from "./config.ts";
import { encode, type EncoderInput } from "./encoder.ts";
import { classify } from "./head.ts";
import type { RankVectors } from "./ops/adapted_linear.ts";
import {
  layerAdapters,
  type ParameterLayout,
  parametersOf,
  splitParameters,
} from "./parameters.ts";
import type { EncoderWeights } from "./weights.ts";

/** A frozen encoder with the layout of what is trained on it. */
export interface Classifier {
  readonly config: EncoderConfig;
  /** Loaded with `pooledLast`. */
  readonly weights: EncoderWeights;
  readonly layout: ParameterLayout;
}

/** Seed of a step's dropout, int32 `[2]`; undefined switches dropout off. */
export type DropoutSeed = tf.Tensor1D | undefined;

/**
 * Logits at the ranks in use, from the parts of the flat parameter vector.
 *
 * @returns `[groups * batch, labels]`
 */
export function logitsOf(
  { config, weights, layout }: Classifier,
  parts: readonly tf.Tensor[],
  input: EncoderInput,
  ranks: RankVectors,
  seed: DropoutSeed,
): tf.Tensor2D {
  const { adapters, head } = parametersOf(parts, layout);
  const source = (rate: number, site: number) => seed && { rate, seed, site };
  const hidden = source(config.hiddenDropout, 0);
  const attention = source(config.attentionDropout, 1 << 16);
  const pooled = encode(weights, config, input, {
    adapters: { layers: adapters.map(layerAdapters), ranks },
    ...(hidden && attention ? { dropout: { hidden, attention } } : {}),
  });
  return classify(
    pooled,
    head,
    config,
    source(config.classifierDropout, 1 << 17),
  );
}

/** Logits from the flat vector itself. */
export function logitsAt(
  classifier: Classifier,
  values: tf.Tensor1D,
  input: EncoderInput,
  ranks: RankVectors,
): tf.Tensor2D {
  const parts = splitParameters(values, classifier.layout);
  return logitsOf(classifier, parts, input, ranks, undefined);
}
