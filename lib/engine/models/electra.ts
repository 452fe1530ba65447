import { BertConfig, bertEncoder, count, encode, headDropout } from "./bert.ts";
import { type Architecture, countedPositions, type Model } from "./model.ts";
import { denseHead } from "./roberta.ts";

/**
 * ELECTRA (arXiv 2003.10555), as transformers'
 * `ElectraForSequenceClassification` computes it: BERT's encoder on embeddings
 * that may be narrower than its layers, and RoBERTa's head with GELU.
 */
export const electra: Architecture = {
  type: "electra",
  classifierClass: "ElectraForSequenceClassification",
  tokenizerClass: "ElectraTokenizer",
  prefix: "electra",
  pairType: 1,
  targetModules: ["query", "value"],
  head: denseHead,
  configure(json): Model {
    const config = BertConfig.parse(json);
    const embedding = count.default(128).parse(config.embedding_size);
    const rows = config.max_position_embeddings;
    return {
      ...bertEncoder(electra, config, embedding),
      padId: config.pad_token_id ?? 0,
      maxLength: rows,
      positions: (_ids, batch, seq) => countedPositions(batch, seq, rows),
      forward: (m) => {
        const rate = headDropout(config);
        const first = m.first(encode(m, "electra", config, embedding));
        const dense = m.gelu("classifier.dense", m.dropout(first, rate));
        return m.linear("classifier.out_proj", m.dropout(dense, rate));
      },
    };
  },
};
