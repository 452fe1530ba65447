import { z } from "zod";
import {
  BertConfig,
  count,
  encodeLayer,
  type LayerNames,
  layerShapes,
} from "./bert.ts";
import {
  type Architecture,
  type Model,
  normShapes,
  positionsAfterPadding,
} from "./model.ts";
import { denseHead } from "./roberta.ts";

/**
 * MPNet (arXiv 2004.09297), as transformers' `MPNetForSequenceClassification`
 * computes it: BERT's layers with a bias of relative positions that all of
 * them share, and RoBERTa's positions and head.
 */
export const mpnet: Architecture = {
  type: "mpnet",
  classifierClass: "MPNetForSequenceClassification",
  tokenizerClass: "MPNetTokenizer",
  prefix: "mpnet",
  pairType: 0,
  targetModules: ["q", "v"],
  head: denseHead,
  configure(json): Model {
    const config = MPNetConfig.parse(json);
    const {
      hidden_size: hidden,
      num_hidden_layers: layers,
      num_attention_heads: heads,
      max_position_embeddings: rows,
      hidden_dropout_prob: dropout,
      layer_norm_eps: epsilon,
    } = config;
    const names = Array.from({ length: layers }, (_, i) => namesOf(i));
    return {
      architecture: mpnet,
      layers,
      hidden,
      vocabSize: config.vocab_size,
      padId: PAD_ID,
      maxLength: rows - PAD_ID - 1,
      tensors: new Map([
        [`${EMBEDDINGS}.word_embeddings.weight`, [config.vocab_size, hidden]],
        [`${EMBEDDINGS}.position_embeddings.weight`, [rows, hidden]],
        ...normShapes(`${EMBEDDINGS}.LayerNorm`, hidden),
        [`${BIAS}.weight`, [config.relative_attention_num_buckets, heads]],
        ...names.flatMap((it) =>
          layerShapes(it, hidden, config.intermediate_size)
        ),
      ]),
      positions: (ids, batch, seq) =>
        positionsAfterPadding(ids, batch, seq, PAD_ID, rows),
      forward: (m) => {
        let x = m.embed(
          [
            [`${EMBEDDINGS}.word_embeddings`, "ids"],
            [`${EMBEDDINGS}.position_embeddings`, "positions"],
          ],
          { name: `${EMBEDDINGS}.LayerNorm`, epsilon },
          dropout,
        );
        m.observe(x);
        const bias = m.positionBias(
          BIAS,
          bucketOf,
          // Attention scales its bias, and MPNet does not.
          Math.sqrt(hidden / heads),
        );
        names.forEach((names, i) => {
          const isLast = i === layers - 1;
          x = encodeLayer(m, names, x, {
            heads,
            isLast,
            epsilon,
            attention: () => ({
              dropout: config.attention_probs_dropout_prob,
              bias: isLast ? m.read(bias) : bias,
            }),
            attentionDropout: dropout,
            dropout,
          });
        });
        const first = m.dropout(m.first(x), dropout);
        const dense = m.tanh(m.linear("classifier.dense", first));
        return m.linear("classifier.out_proj", m.dropout(dense, dropout));
      },
    };
  },
};

const EMBEDDINGS = "mpnet.embeddings";
const BIAS = "mpnet.encoder.relative_attention_bias";
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

function namesOf(index: number): LayerNames {
  const layer = `mpnet.encoder.layer.${index}`;
  return {
    query: `${layer}.attention.attn.q`,
    key: `${layer}.attention.attn.k`,
    value: `${layer}.attention.attn.v`,
    attentionOutput: `${layer}.attention.attn.o`,
    attentionNorm: `${layer}.attention.LayerNorm`,
    intermediate: `${layer}.intermediate.dense`,
    output: `${layer}.output.dense`,
    norm: `${layer}.output.LayerNorm`,
  };
}

const MPNetConfig = BertConfig.safeExtend({
  pad_token_id: z.literal(PAD_ID).default(PAD_ID),
  relative_attention_num_buckets: count.min(BUCKETS).default(BUCKETS),
});
