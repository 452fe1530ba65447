import * as tf from "@tensorflow/tfjs-core";
import type { EncoderConfig } from "./config.ts";
import {
  groupsOf,
  type LayerRanks,
  layerRanks,
  type ModelRanks,
} from "./ranks/module_ranks.ts";
import { adaptedLinear, type AdapterBlock } from "./ops/adapted_linear.ts";
import { attention, joinHeads, splitHeads } from "./ops/attention.ts";
import type { DropoutSource } from "./ops/dropout.ts";
import { biasGelu } from "./ops/gelu.ts";
import { addAndNorm, normFrozen } from "./ops/layer_norm.ts";
import { lookUp } from "./ops/look_up.ts";
import { frozenProduct, linear } from "./ops/linear.ts";
import type { EncoderWeights, LayerWeights } from "./weights.ts";

/** A padded batch of token sequences. */
export interface EncoderInput {
  /** Token ids, int32 `[batch, seq]` */
  readonly ids: tf.Tensor2D;
  /** Rows of the position table, int32 `[batch, seq]` */
  readonly positions: tf.Tensor2D;
  /** Token types, int32 `[batch, seq]` */
  readonly types: tf.Tensor2D;
  /** 1 for tokens and 0 for padding, float32 `[batch, seq]`; undefined where nothing is padded */
  readonly mask: tf.Tensor2D | undefined;
}

/** Adapters on query and value of one layer, each `[rank, hidden]`. */
export interface LayerAdapters {
  readonly queryA: tf.Tensor2D;
  readonly queryB: tf.Tensor2D;
  readonly valueA: tf.Tensor2D;
  readonly valueB: tf.Tensor2D;
}

/** Adapters of all layers, and the ranks at which they are used. */
export interface Adapters {
  readonly layers: readonly LayerAdapters[];
  readonly ranks: ModelRanks;
}

/** Dropout while training: of hidden states, and of attention probabilities. */
export interface EncoderDropout {
  readonly hidden: DropoutSource;
  readonly attention: DropoutSource;
}

/** What {@linkcode encode} is given beside the weights. */
export interface EncodeOptions {
  readonly adapters?: Adapters;
  readonly dropout?: EncoderDropout;
  /** Called with the hidden states of the embeddings and of every layer. */
  readonly observe?: (hidden: tf.Tensor2D) => void;
}

/**
 * BERT's encoder (arXiv 1810.04805), post-layer-norm, as transformers computes it.
 *
 * With adapters at several ranks ("groups"), every sequence is computed at
 * each of them; what does not depend on the rank is computed once.
 *
 * @returns `[groups * batch * seq, hidden]`; if the weights' last layer is
 * pooled, only the first position of each sequence: `[groups * batch, hidden]`
 */
export function encode(
  weights: EncoderWeights,
  config: EncoderConfig,
  input: EncoderInput,
  options: EncodeOptions = {},
): tf.Tensor2D {
  const [batch, seq] = input.ids.shape;
  const { adapters } = options;
  const groups = adapters === undefined ? 1 : groupsOf(adapters.ranks);
  const ranks = adapters && layerRanks(adapters.ranks, config.layers);
  const mask = input.mask === undefined ? undefined : tf.tile(
    tf.reshape(tf.mul(tf.sub(input.mask, 1), 1e9), [batch, 1, 1, seq]),
    [groups, 1, 1, 1],
  ) as tf.Tensor4D;

  let x = embed(weights, input, options.dropout?.hidden);
  options.observe?.(x);
  weights.layers.forEach((layer, i) => {
    x = encodeLayer(x, layer, {
      heads: config.heads,
      batch,
      seq,
      groups,
      mask,
      first: i === 0,
      adapters: adapters?.layers[i],
      ranks: ranks?.[i],
      dropout: options.dropout,
    });
    options.observe?.(x);
  });
  return x;
}

function embed(
  { words, positions, types, norm }: EncoderWeights,
  input: EncoderInput,
  source: DropoutSource | undefined,
): tf.Tensor2D {
  return normFrozen(
    [
      lookUp(words, input.ids),
      lookUp(types, input.types),
      lookUp(positions, input.positions),
    ],
    norm,
    source,
  );
}

interface LayerContext {
  readonly heads: number;
  readonly batch: number;
  readonly seq: number;
  readonly groups: number;
  readonly mask: tf.Tensor4D | undefined;
  /** True for the lowest layer, whose input needs no gradient and is shared by all groups. */
  readonly first: boolean;
  readonly adapters: LayerAdapters | undefined;
  readonly ranks: LayerRanks | undefined;
  readonly dropout: EncoderDropout | undefined;
}

function encodeLayer(
  x: tf.Tensor2D,
  layer: LayerWeights,
  context: LayerContext,
): tf.Tensor2D {
  const { attentionOutput, intermediate, output } = layer;
  const hiddenDropout = context.dropout?.hidden;
  const { attended, residual } = attend(x, layer, context);
  const afterAttention = addAndNorm(
    frozenProduct(attended, attentionOutput.weight),
    attentionOutput.bias,
    residual,
    layer.attentionNorm,
    hiddenDropout,
  );
  const expanded = biasGelu(
    frozenProduct(afterAttention, intermediate.weight),
    intermediate.bias,
  );
  return addAndNorm(
    frozenProduct(expanded, output.weight),
    output.bias,
    afterAttention,
    layer.outputNorm,
    hiddenDropout,
  );
}

/** Self-attention before its output projection, and the residual for the same rows. */
function attend(
  x: tf.Tensor2D,
  layer: LayerWeights,
  context: LayerContext,
): { attended: tf.Tensor2D; residual: tf.Tensor2D } {
  const { heads, batch, seq, groups, mask, first, adapters, ranks } = context;
  const hidden = x.shape[1];
  const sequences = groups * batch;
  const project = (
    source: tf.Tensor2D,
    weights: { weight: tf.Tensor2D; bias: tf.Tensor1D },
    blocks: readonly AdapterBlock[],
    groupRows: number,
  ): tf.Tensor2D =>
    blocks.length === 0
      ? linear(source, weights)
      : adaptedLinear(source, weights, blocks, groupRows, {
        inputGradient: !first,
      });
  const query = (offset: number): AdapterBlock[] =>
    adapters === undefined || ranks === undefined ? [] : [{
      a: adapters.queryA,
      b: adapters.queryB,
      offset,
      ranks: ranks.query,
    }];
  const value = (offset: number): AdapterBlock[] =>
    adapters === undefined || ranks === undefined ? [] : [{
      a: adapters.valueA,
      b: adapters.valueB,
      offset,
      ranks: ranks.value,
    }];

  if ("queryKeyValue" in layer.attention) {
    const [q, k, v] = splitHeads(
      project(
        x,
        layer.attention.queryKeyValue,
        [...query(0), ...value(2 * hidden)],
        batch * seq,
      ),
      sequences,
      heads,
      3,
    ) as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D];
    return {
      attended: joinHeads(attention(q, k, v, mask, context.dropout?.attention)),
      residual: shareResidual(x, sequences * seq),
    };
  }

  const pooled = firstPositions(x, seq);
  const [q] = splitHeads(
    project(pooled, layer.attention.query, query(0), batch),
    sequences,
    heads,
    1,
  ) as [tf.Tensor4D];
  const [k, v] = splitHeads(
    project(x, layer.attention.keyValue, value(hidden), batch * seq),
    sequences,
    heads,
    2,
  ) as [tf.Tensor4D, tf.Tensor4D];
  return {
    attended: joinHeads(attention(q, k, v, mask, context.dropout?.attention)),
    residual: shareResidual(pooled, sequences),
  };
}

/** Rows of the first token of each sequence: `[batch * seq, hidden]` -> `[batch, hidden]`. */
export function firstPositions(x: tf.Tensor2D, seq: number): tf.Tensor2D {
  const hidden = x.shape[1];
  return tf.reshape(
    tf.slice(tf.reshape(x, [-1, seq, hidden]), [0, 0, 0], [-1, 1, hidden]),
    [-1, hidden],
  );
}

/** The residual for every group, where the groups still share their input. */
function shareResidual(x: tf.Tensor2D, rows: number): tf.Tensor2D {
  return x.shape[0] === rows ? x : tf.tile(x, [rows / x.shape[0], 1]);
}
