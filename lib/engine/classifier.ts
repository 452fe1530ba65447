import * as tf from "@tensorflow/tfjs-core";
import type { EncoderConfig } from "./config.ts";
import { encode, type EncoderInput } from "./encoder.ts";
import { encodeTrained } from "./fine_tuning/trained_encoder.ts";
import { classify } from "./head.ts";
import type { ModelRanks } from "./ranks/module_ranks.ts";
import { DropoutKeys } from "./ops/dropout.ts";
import {
  layerAdapters,
  type ParameterLayout,
  parametersOf,
  splitParameters,
} from "./parameters.ts";
import type { EncoderWeights } from "./weights.ts";

/** An encoder with the layout of what is trained on it. */
export interface Classifier {
  readonly config: EncoderConfig;
  /** Loaded with `pooledLast`; undefined where the encoder's weights are among what is trained. */
  readonly weights: EncoderWeights | undefined;
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
  ranks: ModelRanks,
  dropout: tf.Tensor2D | undefined,
): tf.Tensor2D {
  const { adapters, encoder, head } = parametersOf(parts, layout);
  const keys = dropout && new DropoutKeys(dropout);
  const source = (rate: number) => keys && { rate, keys };
  const hidden = source(config.hiddenDropout);
  const attention = source(config.attentionDropout);
  const drops = hidden && attention ? { dropout: { hidden, attention } } : {};
  const pooled = weights === undefined
    ? encodeTrained(layout.encoder, encoder, config, input, drops)
    : encode(weights, config, input, {
      ...drops,
      ...(adapters.length > 0 && {
        adapters: { layers: adapters.map(layerAdapters), ranks },
      }),
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
  ranks: ModelRanks,
): tf.Tensor2D {
  const parts = splitParameters(values, classifier.layout);
  return logitsOf(classifier, parts, input, ranks, undefined);
}
