import * as z from "zod";
import {
  BertConfig,
  bertEmbeddings,
  bertFeedForward,
  bertSizes,
  tokensHead,
  wordPiece,
} from "./bert.ts";
import { count, logShare } from "./config.ts";
import { type Architecture, inLayers, type Pass, type Read } from "./model.ts";
import { robertaHead } from "./roberta.ts";

/**
 * MPNet (arXiv 2004.09297), as transformers' `MPNetForSequenceClassification`
 * computes it: BERT's layers with a bias of relative positions that all of
 * them share, and RoBERTa's positions and head.
 */
export const mpnet: Architecture = {
  type: "mpnet",
  className: "MPNet",
  prefix: "mpnet",
  targetModules: ["q", "v"],
  tokenizer: {
    class: "MPNetTokenizer",
    classes: { MPNetTokenizer: wordPiece(false) },
    pairType: 0,
  },
  configure(json) {
    // It has no token types.
    const config = { ...MPNetConfig.parse(json), type_vocab_size: 0 };
    return {
      ...bertSizes(config),
      countsFromPadding: true,
      encoder: (m, read) => encode(m, config, read),
      // Its heads have no dropout of their own.
      heads: {
        sequence: robertaHead(config.hidden_dropout_prob),
        tokens: tokensHead(config.hidden_dropout_prob),
      },
    };
  },
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

function encode<T>(m: Pass<T>, config: MPNetConfig, read?: Read<T>): T {
  const { hidden_size: hidden, num_attention_heads: heads } = config;
  const x = bertEmbeddings(m, "mpnet.embeddings", config);
  const bias = m.positionBias("mpnet.encoder.relative_attention_bias", {
    buckets: config.relative_attention_num_buckets,
    heads,
    bucket: bucketOf,
    // Attention scales its bias, and MPNet does not.
    factor: Math.sqrt(hidden / heads),
  });
  return inLayers(m, config.num_hidden_layers, x, (i, x) => {
    const layer = `mpnet.encoder.layer.${i}`;
    const attention = `${layer}.attention.attn`;
    const [query, key, value] = m.heads(
      [`${attention}.q`, `${attention}.k`, `${attention}.v`],
      x,
      heads,
    );
    const context = m.attention(query, key, value, {
      dropout: config.attention_probs_dropout_prob,
      bias,
    });
    const projected = m.dropout(
      m.linear(`${attention}.o`, context),
      config.hidden_dropout_prob,
    );
    const norm = `${layer}.attention.LayerNorm`;
    const attended = m.norm(norm, [projected, x], {
      epsilon: config.layer_norm_eps,
    });
    return bertFeedForward(m, layer, attended, config);
  }, read);
}
