import { BertConfig, bertModel, wordPiece } from "./bert.ts";
import { count } from "./config.ts";
import type { Architecture } from "./model.ts";
import { robertaHead } from "./roberta.ts";

/**
 * ELECTRA (arXiv 2003.10555), as transformers'
 * `ElectraForSequenceClassification` computes it: BERT's encoder on embeddings
 * that may be narrower than its layers, and RoBERTa's head with GELU.
 */
export const electra: Architecture = {
  type: "electra",
  className: "Electra",
  prefix: "electra",
  targetModules: ["query", "value"],
  tokenizer: {
    class: "ElectraTokenizer",
    classes: { ElectraTokenizer: wordPiece(true) },
    pairType: 1,
  },
  configure(json) {
    const config = BertConfig.parse(json);
    const width = count.default(128).parse(config.embedding_size);
    const head = (dropout: number) => robertaHead(dropout, "gelu");
    return bertModel("electra", config, head, width);
  },
};
