import * as z from "zod";
import { count, layerCount, notMultiple, rate, wordPiece } from "./bert.ts";
import type { Architecture, Pass } from "./model.ts";

/**
 * DistilBERT (arXiv 1910.01108), as transformers'
 * `DistilBertForSequenceClassification` computes it: BERT without token types,
 * pooler, and dropout of the attention's output.
 */
export const distilbert: Architecture = {
  type: "distilbert",
  classifierClass: "DistilBertForSequenceClassification",
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
      maxLength: config.max_position_embeddings,
      headSettings: { dropout: config.seq_classif_dropout },
      encoder: (m) => encode(m, config),
    };
  },
  head(m, x, labels, { dropout }) {
    const pooled = m.relu(m.linear("pre_classifier", m.first(x)));
    return m.logits("classifier", m.dropout(pooled, dropout), labels);
  },
};

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

type DistilBertConfig = z.output<typeof DistilBertConfig>;

/** Fixed in transformers. */
const epsilon = 1e-12;

function encode<T>(m: Pass<T>, config: DistilBertConfig): T {
  const { dim, dropout, n_layers: layers } = config;
  const embeddings = "distilbert.embeddings";
  const rows = config.max_position_embeddings;
  let x = m.norm(`${embeddings}.LayerNorm`, [
    m.embed(`${embeddings}.word_embeddings`, "ids", config.vocab_size, dim),
    m.embed(`${embeddings}.position_embeddings`, "positions", rows, dim),
  ], { epsilon, dropout });
  m.observe(x);
  for (let i = 0; i < layers; i++) {
    const name = `distilbert.transformer.layer.${i}`;
    const read = i === layers - 1 ? m.read(x) : x;
    const [query, key, value] = m.heads(
      ["q_lin", "k_lin", "v_lin"].map((of) => `${name}.attention.${of}`),
      x,
      config.n_heads,
      { read },
    ) as [T, T, T];
    const context = m.attention(query, key, value, {
      dropout: config.attention_dropout,
    });
    const attended = m.norm(
      `${name}.sa_layer_norm`,
      [m.linear(`${name}.attention.out_lin`, context), read],
      { epsilon },
    );
    const inner = m.gelu(
      m.linear(`${name}.ffn.lin1`, attended, config.hidden_dim),
    );
    const outer = m.dropout(m.linear(`${name}.ffn.lin2`, inner, dim), dropout);
    x = m.norm(`${name}.output_layer_norm`, [outer, attended], { epsilon });
    m.observe(x);
  }
  return x;
}
