import { BertConfig, bertEncoder, encode, headDropout } from "./bert.ts";
import type { Architecture, Model } from "./model.ts";

/**
 * RoBERTa (arXiv 1907.11692), as transformers' `RobertaForSequenceClassification`
 * computes it: BERT's encoder with other positions and another head.
 */
export const roberta: Architecture = {
  type: "roberta",
  classifierClass: "RobertaForSequenceClassification",
  prefix: "roberta",
  wrapping: { title: "RoBERTa", separators: 2, pairType: 0 },
  targetModules: ["query", "value"],
  head: (hidden, labels) => [
    {
      name: "classifier.dense.weight",
      shape: [hidden, hidden],
      start: "normal",
    },
    { name: "classifier.dense.bias", shape: [hidden], start: "zeros" },
    {
      name: "classifier.out_proj.weight",
      shape: [labels, hidden],
      start: "normal",
    },
    { name: "classifier.out_proj.bias", shape: [labels], start: "zeros" },
  ],
  configure(json): Model {
    const config = BertConfig.parse(json);
    const padId = config.pad_token_id ?? 1;
    const rows = config.max_position_embeddings;
    return {
      ...bertEncoder(roberta, config),
      padId,
      // Positions are counted from padId + 1, as fairseq did.
      maxLength: rows - padId - 1,
      positions(ids, batch, seq) {
        const positions = new Int32Array(batch * seq).fill(padId);
        for (let row = 0; row < batch; row++) {
          let next = padId + 1;
          for (let i = row * seq; i < (row + 1) * seq; i++) {
            if (ids[i] !== padId) positions[i] = Math.min(next++, rows - 1);
          }
        }
        return positions;
      },
      forward: (m) => {
        const rate = headDropout(config);
        const first = m.dropout(m.first(encode(m, "roberta", config)), rate);
        const dense = m.tanh(m.linear("classifier.dense", first));
        return m.linear("classifier.out_proj", m.dropout(dense, rate));
      },
    };
  },
};
