import { z } from "zod";
import {
  count,
  encodeLayer,
  layerCount,
  type LayerNames,
  layerShapes,
  notMultiple,
  rate,
} from "./bert.ts";
import {
  type Architecture,
  countedPositions,
  headDense,
  headLinear,
  type Model,
  normShapes,
} from "./model.ts";

/**
 * DistilBERT (arXiv 1910.01108), as transformers'
 * `DistilBertForSequenceClassification` computes it: BERT's layers without
 * token types, pooler, and dropout of the attention's output.
 */
export const distilbert: Architecture = {
  type: "distilbert",
  classifierClass: "DistilBertForSequenceClassification",
  tokenizerClass: "DistilBertTokenizer",
  prefix: "distilbert",
  pairType: 0,
  targetModules: ["q_lin", "v_lin"],
  head: (hidden, labels) => [
    ...headDense("pre_classifier", hidden),
    ...headLinear("classifier", hidden, labels),
  ],
  configure(json): Model {
    const config = DistilBertConfig.parse(json);
    const { dim: hidden, n_layers: layers, dropout } = config;
    const rows = config.max_position_embeddings;
    const names = Array.from({ length: layers }, (_, i) => namesOf(i));
    return {
      architecture: distilbert,
      layers,
      hidden,
      vocabSize: config.vocab_size,
      padId: config.pad_token_id ?? 0,
      maxLength: rows,
      tensors: new Map([
        [`${EMBEDDINGS}.word_embeddings.weight`, [config.vocab_size, hidden]],
        [`${EMBEDDINGS}.position_embeddings.weight`, [rows, hidden]],
        ...normShapes(`${EMBEDDINGS}.LayerNorm`, hidden),
        ...names.flatMap((it) => layerShapes(it, hidden, config.hidden_dim)),
      ]),
      positions: (_ids, batch, seq) => countedPositions(batch, seq, rows),
      forward: (m) => {
        let x = m.embed(
          [
            [`${EMBEDDINGS}.word_embeddings`, "ids"],
            [`${EMBEDDINGS}.position_embeddings`, "positions"],
          ],
          { name: `${EMBEDDINGS}.LayerNorm`, epsilon: EPSILON },
          dropout,
        );
        m.observe(x);
        names.forEach((names, i) => {
          x = encodeLayer(m, names, x, {
            heads: config.n_heads,
            isLast: i === layers - 1,
            epsilon: EPSILON,
            attention: () => ({ dropout: config.attention_dropout }),
            attentionDropout: 0,
            dropout,
          });
        });
        const pooled = m.relu(m.linear("pre_classifier", m.first(x)));
        return m.linear(
          "classifier",
          m.dropout(pooled, config.seq_classif_dropout),
        );
      },
    };
  },
};

const EMBEDDINGS = "distilbert.embeddings";
/** Fixed in transformers. */
const EPSILON = 1e-12;

function namesOf(index: number): LayerNames {
  const layer = `distilbert.transformer.layer.${index}`;
  return {
    query: `${layer}.attention.q_lin`,
    key: `${layer}.attention.k_lin`,
    value: `${layer}.attention.v_lin`,
    attentionOutput: `${layer}.attention.out_lin`,
    attentionNorm: `${layer}.sa_layer_norm`,
    intermediate: `${layer}.ffn.lin1`,
    output: `${layer}.ffn.lin2`,
    norm: `${layer}.output_layer_norm`,
  };
}

const DistilBertConfig = z.looseObject({
  vocab_size: count,
  dim: count,
  n_layers: layerCount,
  n_heads: count,
  hidden_dim: count,
  max_position_embeddings: count,
  pad_token_id: z.int().min(0).nullish(),
  activation: z.literal("gelu").default("gelu"),
  dropout: rate.default(0.1),
  attention_dropout: rate.default(0.1),
  seq_classif_dropout: rate.default(0.2),
}).refine(({ dim, n_heads }) => dim % n_heads === 0, {
  path: ["dim"],
  error: ({ input }) => notMultiple(input, "dim", "n_heads"),
});
