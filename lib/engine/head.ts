import * as tf from "@tensorflow/tfjs-core";
import type { EncoderConfig } from "./config.ts";
import { dropout, type DropoutSource } from "./ops/dropout.ts";
import type { HeadParameters } from "./parameters.ts";

/**
 * The classification head on the first position of each sequence.
 *
 * RoBERTa: dropout, dense, tanh, dropout, projection. BERT: its pooler
 * (dense, tanh), dropout, projection.
 *
 * @param pooled `[sequences, hidden]`
 * @returns Logits `[sequences, labels]`
 */
export function classify(
  pooled: tf.Tensor2D,
  { denseWeight, denseBias, outWeight, outBias }: HeadParameters,
  { architecture }: EncoderConfig,
  source: DropoutSource | undefined,
): tf.Tensor2D {
  const input = architecture === "roberta" ? dropout(pooled, source) : pooled;
  const dense = tf.tanh(
    tf.add(tf.matMul(input, denseWeight, false, true), denseBias),
  );
  return tf.add(
    tf.matMul(dropout(dense as tf.Tensor2D, source), outWeight, false, true),
    outBias,
  );
}
