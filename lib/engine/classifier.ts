import * as tf from "@tensorflow/tfjs-core";
import type { EncoderConfig } from "./config.ts";
import { encode, type EncoderInput } from "./encoder.ts";
import { classify } from "./head.ts";
import { DropoutKeys } from "./ops/dropout.ts";
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

/** Places where a classifier drops values: embeddings, three in each layer, two in the head. */
export function dropoutSites(layers: number): number {
  return 3 + 3 * layers;
}

/**
 * Logits at the ranks in use, from the parts of the flat parameter vector.
 *
 * @param dropout Keys of this step's masks, int32 `[sites, 2]`; undefined switches dropout off
 * @returns `[groups * batch, labels]`
 */
export function logitsOf(
  { config, weights, layout }: Classifier,
  parts: readonly tf.Tensor[],
  input: EncoderInput,
  ranks: RankVectors,
  dropout: tf.Tensor2D | undefined,
): tf.Tensor2D {
  const { adapters, head } = parametersOf(parts, layout);
  const keys = dropout && new DropoutKeys(dropout);
  const source = (rate: number) => keys && { rate, keys };
  const hidden = source(config.hiddenDropout);
  const attention = source(config.attentionDropout);
  const pooled = encode(weights, config, input, {
    adapters: { layers: adapters.map(layerAdapters), ranks },
    ...(hidden && attention ? { dropout: { hidden, attention } } : {}),
  });
  return classify(
    pooled,
    head,
    config,
    source(config.classifierDropout),
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
