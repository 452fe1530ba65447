import * as z from "zod";
import {
  BertConfig,
  bertEmbeddings,
  bertFeedForward,
  bertSizes,
} from "./bert.ts";
import { count, logShare } from "./config.ts";
import { type Architecture, inLayers, type Pass } from "./model.ts";
import { roberta } from "./roberta.ts";
import { wordPiece } from "./tokenizer_classes.ts";

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
    // It has no token types, and its head no dropout of its own.
    const own = { type_vocab_size: 0, classifier_dropout: null };
    const config = { ...MPNetConfig.parse(json), ...own };
    return {
      ...bertSizes(config),
      countsFromPadding: true,
      encoder: (m) => encode(m, config),
    };
  },
  head: roberta.head,
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
  const share = logShare(size, exact, MAX_DISTANCE);
  const far = exact + Math.trunc(Math.fround(share * (half - exact)));
  return start + Math.min(far, half - 1);
}

const MPNetConfig = BertConfig.safeExtend({
  pad_token_id: z.literal(PAD_ID).default(PAD_ID),
  relative_attention_num_buckets: count.min(BUCKETS).default(BUCKETS),
});

type MPNetConfig = z.output<typeof MPNetConfig>;

function encode<T>(m: Pass<T>, config: MPNetConfig): T {
  const { hidden_size: hidden, num_attention_heads: heads } = config;
  const x = bertEmbeddings(m, "mpnet.embeddings", config);
  const bias = m.positionBias(
    "mpnet.encoder.relative_attention_bias",
    config.relative_attention_num_buckets,
    heads,
    bucketOf,
    // Attention scales its bias, and MPNet does not.
    Math.sqrt(hidden / heads),
  );
  return inLayers(m, config.num_hidden_layers, x, (i, x, read) => {
    const layer = `mpnet.encoder.layer.${i}`;
    const attention = `${layer}.attention.attn`;
    const own = read(x);
    const [query, key, value] = m.heads(
      [`${attention}.q`, `${attention}.k`, `${attention}.v`],
      x,
      heads,
      { read: own },
    );
    const context = m.attention(query, key, value, {
      dropout: config.attention_probs_dropout_prob,
      bias,
    });
    const projected = m.dropout(
      m.linear(`${attention}.o`, context),
      config.hidden_dropout_prob,
    );
    const attended = m.norm(`${layer}.attention.LayerNorm`, [projected, own]);
    return bertFeedForward(m, layer, attended, config);
  });
}
