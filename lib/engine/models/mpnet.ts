import * as z from "zod";
import {
  BertConfig,
  bertFeedForward,
  bertSizes,
  count,
  wordPiece,
} from "./bert.ts";
import type { Architecture, Pass } from "./model.ts";
import { robertaHead } from "./roberta.ts";

/**
 * MPNet (arXiv 2004.09297), as transformers' `MPNetForSequenceClassification`
 * computes it: BERT's layers with a bias of relative positions that all of
 * them share, and RoBERTa's positions and head.
 */
export const mpnet: Architecture = {
  type: "mpnet",
  classifierClass: "MPNetForSequenceClassification",
  prefix: "mpnet",
  targetModules: ["q", "v"],
  tokenizer: {
    class: "MPNetTokenizer",
    classes: { MPNetTokenizer: wordPiece(false) },
    pairType: 0,
  },
  configure(json) {
    const config = MPNetConfig.parse(json);
    return {
      ...bertSizes({ ...config, classifier_dropout: null }),
      padId: PAD_ID,
      maxLength: config.max_position_embeddings - PAD_ID - 1,
      countsFromPadding: true,
      encoder: (m) => encode(m, config),
    };
  },
  head: robertaHead,
};

/** Fixed in transformers, whatever `pad_token_id` says. */
const PAD_ID = 1;
/** Buckets that transformers computes, whatever the table's size. */
const BUCKETS = 32;
const MAX_DISTANCE = 128;

/**
 * Bucket of a relative position, key minus query, as in T5 (arXiv 1910.10683):
 * one half for keys before the query and one for those after it; in each, near
 * distances exactly and far ones logarithmically.
 */
function bucketOf(distance: number): number {
  const half = BUCKETS / 2;
  const exact = half / 2;
  const start = distance > 0 ? half : 0;
  const size = Math.abs(distance);
  if (size < exact) return start + size;
  // In float32 as PyTorch has it: distances at the edge of a bucket depend on the rounding.
  const { fround, log } = Math;
  const share = fround(
    fround(log(fround(size / exact))) / fround(log(MAX_DISTANCE / exact)),
  );
  const far = exact + Math.trunc(fround(share * (half - exact)));
  return start + Math.min(far, half - 1);
}

const MPNetConfig = BertConfig.safeExtend({
  pad_token_id: z.literal(PAD_ID).default(PAD_ID),
  relative_attention_num_buckets: count.min(BUCKETS).default(BUCKETS),
});

type MPNetConfig = z.output<typeof MPNetConfig>;

function encode<T>(m: Pass<T>, config: MPNetConfig): T {
  const {
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    hidden_dropout_prob: dropout,
    layer_norm_eps: epsilon,
  } = config;
  const embeddings = "mpnet.embeddings";
  const rows = config.max_position_embeddings;
  let x = m.norm(`${embeddings}.LayerNorm`, [
    m.embed(`${embeddings}.word_embeddings`, "ids", config.vocab_size, hidden),
    m.embed(`${embeddings}.position_embeddings`, "positions", rows, hidden),
  ], { epsilon, dropout });
  m.observe(x);
  const bias = m.positionBias(
    "mpnet.encoder.relative_attention_bias",
    config.relative_attention_num_buckets,
    heads,
    bucketOf,
    // Attention scales its bias, and MPNet does not.
    Math.sqrt(hidden / heads),
  );
  for (let i = 0; i < layers; i++) {
    const name = `mpnet.encoder.layer.${i}`;
    const isLast = i === layers - 1;
    const read = isLast ? m.read(x) : x;
    const [query, key, value] = m.heads(
      ["q", "k", "v"].map((of) => `${name}.attention.attn.${of}`),
      x,
      heads,
      { read },
    ) as [T, T, T];
    const context = m.attention(query, key, value, {
      dropout: config.attention_probs_dropout_prob,
      bias: isLast ? m.read(bias) : bias,
    });
    const projected = m.linear(`${name}.attention.attn.o`, context);
    const attended = m.norm(
      `${name}.attention.LayerNorm`,
      [m.dropout(projected, dropout), read],
      { epsilon },
    );
    x = bertFeedForward(m, name, attended, config);
    m.observe(x);
  }
  return x;
}
