import * as z from "zod";
import { tokensHead, wordPiece } from "./bert.ts";
import { count, multipleOf, padToken, rate, SIZES } from "./config.ts";
import { type Architecture, inLayers, type Pass, type Read } from "./model.ts";

/**
 * DistilBERT (arXiv 1910.01108), as transformers'
 * `DistilBertForSequenceClassification` computes it: BERT without token types,
 * pooler, and dropout of the attention's output.
 */
export const distilbert: Architecture = {
  type: "distilbert",
  className: "DistilBert",
  prefix: "distilbert",
  targetModules: ["q_lin", "v_lin"],
  tokenizer: {
    class: "DistilBertTokenizer",
    classes: { DistilBertTokenizer: wordPiece(false) },
    pairType: 0,
  },
  configure(json) {
    const config = DistilBertConfig.parse(json);
    return {
      layers: config.n_layers,
      hidden: config.dim,
      vocabSize: config.vocab_size,
      padId: config.pad_token_id ?? 0,
      positions: config.max_position_embeddings,
      encoder: (m, read) => encode(m, config, read),
      heads: {
        sequence: {
          read: (m, x) => m.first(x),
          logits(m, first, outputs) {
            const pooled = m.activate(
              m.linear("pre_classifier", first),
              "relu",
            );
            const dropped = m.dropout(pooled, config.seq_classif_dropout);
            return m.logits("classifier", dropped, outputs);
          },
        },
        tokens: tokensHead(config.dropout),
      },
    };
  },
};

/** Of normalizations, fixed in transformers. */
const EPSILON = { epsilon: 1e-12 };

const DistilBertConfig = z.looseObject({
  vocab_size: count,
  dim: count,
  n_layers: SIZES.num_hidden_layers,
  n_heads: count,
  hidden_dim: count,
  max_position_embeddings: count,
  pad_token_id: padToken.nullish(),
  activation: z.literal("gelu").default("gelu"),
  dropout: rate.default(0.1),
  attention_dropout: rate.default(0.1),
  seq_classif_dropout: rate.default(0.2),
}).superRefine(multipleOf("dim", "n_heads"));

type DistilBertConfig = z.output<typeof DistilBertConfig>;

function encode<T>(m: Pass<T>, config: DistilBertConfig, read?: Read<T>): T {
  const { dim, dropout, max_position_embeddings: rows } = config;
  const embeddings = "distilbert.embeddings";
  const x = m.norm(`${embeddings}.LayerNorm`, [
    m.embed(`${embeddings}.word_embeddings`, "ids", [config.vocab_size, dim]),
    m.embed(`${embeddings}.position_embeddings`, "positions", [rows, dim]),
  ], { ...EPSILON, dropout });
  return inLayers(m, config.n_layers, x, (i, x) => {
    const layer = `distilbert.transformer.layer.${i}`;
    const attention = `${layer}.attention`;
    const heads = m.heads(
      [`${attention}.q_lin`, `${attention}.k_lin`, `${attention}.v_lin`],
      x,
      config.n_heads,
    );
    const context = m.attention(...heads, {
      dropout: config.attention_dropout,
    });
    const projected = m.linear(`${attention}.out_lin`, context);
    const attended = m.norm(`${layer}.sa_layer_norm`, [projected, x], EPSILON);
    const inner = m.activate(
      m.linear(`${layer}.ffn.lin1`, attended, { width: config.hidden_dim }),
      "gelu",
    );
    const outer = m.linear(`${layer}.ffn.lin2`, inner, { width: dim });
    const terms = [m.dropout(outer, dropout), attended];
    return m.norm(`${layer}.output_layer_norm`, terms, EPSILON);
  }, read);
}
