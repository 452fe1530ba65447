import * as tf from "@tensorflow/tfjs-core";
import type { EncoderConfig } from "../config.ts";
import {
  type EncodeOptions,
  type EncoderInput,
  firstPositions,
} from "../encoder.ts";
import { attention, joinHeads, splitHeads } from "../ops/attention.ts";
import { dropout } from "../ops/dropout.ts";
import type { LayerNorm } from "../ops/layer_norm.ts";
import type { Linear } from "../ops/linear.ts";
import type { EncoderTensor } from "./encoder_tensors.ts";
import {
  lookUpTrained,
  trainedGelu,
  trainedLinear,
  trainedNorm,
} from "./trained_ops.ts";

/**
 * The encoder with a gradient of all its weights; computes what
 * {@linkcode encode} does without adapters, of the last layer only what the
 * classifier reads.
 *
 * @param tensors Names of the parts, in their order
 * @param parts The encoder's weights
 * @returns The first position of each sequence: `[batch, hidden]`
 */
export function encodeTrained(
  tensors: readonly EncoderTensor[],
  parts: readonly tf.Tensor[],
  config: EncoderConfig,
  input: EncoderInput,
  options: Pick<EncodeOptions, "dropout">,
): tf.Tensor2D {
  const weights = new NamedWeights(tensors, parts, config.layerNormEpsilon);
  const [batch, seq] = input.ids.shape;
  const mask = input.mask &&
    tf.reshape<tf.Rank.R4>(tf.mul(tf.sub(input.mask, 1), 1e9), [
      batch,
      1,
      1,
      seq,
    ]) as tf.Tensor4D;
  const drops = options.dropout;

  function layer(x: tf.Tensor2D, i: number): tf.Tensor2D {
    const name = `encoder.layer.${i}`;
    const read = i === config.layers - 1 ? firstPositions(x, seq) : x;
    const heads = (rows: tf.Tensor2D, part: string) =>
      splitHeads(
        trainedLinear(rows, weights.linear(`${name}.attention.self.${part}`)),
        batch,
        config.heads,
        1,
      )[0]!;
    const attended = joinHeads(
      attention(
        heads(read, "query"),
        heads(x, "key"),
        heads(x, "value"),
        mask,
        drops?.attention,
      ),
    );
    const afterAttention = trainedNorm(
      trainedLinear(attended, weights.linear(`${name}.attention.output.dense`)),
      read,
      weights.norm(`${name}.attention.output.LayerNorm`),
      drops?.hidden,
    );
    const expanded = trainedGelu(
      afterAttention,
      weights.linear(`${name}.intermediate.dense`),
    );
    return trainedNorm(
      trainedLinear(expanded, weights.linear(`${name}.output.dense`)),
      afterAttention,
      weights.norm(`${name}.output.LayerNorm`),
      drops?.hidden,
    );
  }

  const embedded = trainedNorm(
    tf.add(
      lookUpTrained(weights.table("word"), input.ids),
      lookUpTrained(weights.table("token_type"), input.types),
    ),
    lookUpTrained(weights.table("position"), input.positions),
    weights.norm("embeddings.LayerNorm"),
    undefined,
  );
  return Array.from({ length: config.layers }).reduce<tf.Tensor2D>(
    (x, _, i) => layer(x, i),
    dropout(embedded, drops?.hidden),
  );
}

/** An encoder's weights by their names. */
class NamedWeights {
  readonly #parts: ReadonlyMap<string, tf.Tensor>;
  readonly #epsilon: number;

  constructor(
    tensors: readonly EncoderTensor[],
    parts: readonly tf.Tensor[],
    epsilon: number,
  ) {
    this.#parts = new Map(tensors.map(({ name }, i) => [name, parts[i]!]));
    this.#epsilon = epsilon;
  }

  linear(name: string): Linear {
    return {
      weight: this.#get(`${name}.weight`),
      bias: this.#get(`${name}.bias`),
    };
  }

  norm(name: string): LayerNorm {
    return {
      gamma: this.#get(`${name}.weight`),
      beta: this.#get(`${name}.bias`),
      epsilon: this.#epsilon,
    };
  }

  table(name: string): tf.Tensor2D {
    return this.#get(`embeddings.${name}_embeddings.weight`);
  }

  #get<T extends tf.Tensor>(name: string): T {
    const part = this.#parts.get(name);
    if (part === undefined) throw new TypeError(`No weight is named "${name}"`);
    return part as T;
  }
}
