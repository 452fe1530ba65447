import { BertConfig, bertEncoder, encode, headDropout } from "./bert.ts";
import {
  type Architecture,
  headDense,
  headLinear,
  type HeadTensor,
  type Model,
  positionsAfterPadding,
} from "./model.ts";

/**
 * RoBERTa (arXiv 1907.11692), as transformers' `RobertaForSequenceClassification`
 * computes it: BERT's encoder with other positions and another head.
 */
export const roberta: Architecture = robertaLike(
  "roberta",
  "RobertaForSequenceClassification",
  "RobertaTokenizer",
);

/** An architecture that differs from RoBERTa in names only. Its encoder is called `roberta` in transformers, too. */
export function robertaLike(
  type: string,
  classifierClass: string,
  tokenizerClass: string,
): Architecture {
  const architecture: Architecture = {
    type,
    classifierClass,
    tokenizerClass,
    prefix: "roberta",
    pairType: 0,
    targetModules: ["query", "value"],
    head: denseHead,
    configure(json): Model {
      const config = BertConfig.parse(json);
      const padId = config.pad_token_id ?? 1;
      const rows = config.max_position_embeddings;
      return {
        ...bertEncoder(architecture, config),
        padId,
        maxLength: rows - padId - 1,
        positions: (ids, batch, seq) =>
          positionsAfterPadding(ids, batch, seq, padId, rows),
        forward: (m) => {
          const rate = headDropout(config);
          const first = m.dropout(m.first(encode(m, "roberta", config)), rate);
          const dense = m.tanh(m.linear("classifier.dense", first));
          return m.linear("classifier.out_proj", m.dropout(dense, rate));
        },
      };
    },
  };
  return architecture;
}

/** A head of two linear layers; the first starts as the model's file has it, if it is a classifier's. */
export function denseHead(hidden: number, labels: number): HeadTensor[] {
  return [
    ...headDense("classifier.dense", hidden),
    ...headLinear("classifier.out_proj", hidden, labels),
  ];
}
