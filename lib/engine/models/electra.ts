import { BertConfig, bertEncoder, bertSizes } from "./bert.ts";
import { count } from "./config.ts";
import type { Architecture } from "./model.ts";
import { wordPiece } from "./tokenizer_classes.ts";

/**
 * ELECTRA (arXiv 2003.10555), as transformers'
 * `ElectraForSequenceClassification` computes it: BERT's encoder on embeddings
 * that may be narrower than its layers, and RoBERTa's head with GELU.
 */
export const electra: Architecture = {
  type: "electra",
  classifierClass: "ElectraForSequenceClassification",
  prefix: "electra",
  targetModules: ["query", "value"],
  tokenizer: {
    class: "ElectraTokenizer",
    classes: { ElectraTokenizer: wordPiece(true) },
    pairType: 1,
  },
  configure(json) {
    const config = BertConfig.parse(json);
    const embedding = count.default(128).parse(config.embedding_size);
    return {
      ...bertSizes(config),
      encoder: (m) => bertEncoder(m, "electra", config, embedding),
    };
  },
  head(m, x, labels, { dropout }) {
    const first = m.dropout(m.first(x), dropout);
    const dense = m.gelu(m.linear("classifier.dense", first));
    return m.logits("classifier.out_proj", m.dropout(dense, dropout), labels);
  },
};
