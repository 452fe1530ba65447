import { BertConfig, bertEncoder, bertSizes } from "./bert.ts";
import type { Architecture } from "./model.ts";
import { byteLevel } from "./tokenizer_classes.ts";

/**
 * RoBERTa (arXiv 1907.11692), as transformers' `RobertaForSequenceClassification`
 * computes it: BERT's encoder with other positions and another head.
 */
export const roberta: Architecture = {
  type: "roberta",
  classifierClass: "RobertaForSequenceClassification",
  prefix: "roberta",
  targetModules: ["query", "value"],
  tokenizer: {
    class: "RobertaTokenizer",
    classes: {
      RobertaTokenizer: byteLevel,
      BartTokenizer: byteLevel,
      GPT2Tokenizer: byteLevel,
      LongformerTokenizer: byteLevel,
    },
    pairType: 0,
  },
  configure(json) {
    const config = BertConfig.parse(json);
    return {
      ...bertSizes(config),
      padId: config.pad_token_id ?? 1,
      countsFromPadding: true,
      encoder: (m) => bertEncoder(m, "roberta", config),
    };
  },
  head(m, x, labels, { dropout }) {
    const first = m.dropout(m.first(x), dropout);
    const dense = m.tanh(m.linear("classifier.dense", first));
    return m.logits("classifier.out_proj", m.dropout(dense, dropout), labels);
  },
};

/** XLM-RoBERTa (arXiv 1911.02116): RoBERTa with the vocabulary of 100 languages. */
export const xlmRoberta = relative("xlm-roberta", "XLMRoberta");

/** CamemBERT (arXiv 1911.03894): RoBERTa with a French vocabulary. */
export const camembert = relative("camembert", "Camembert");

/** RoBERTa under another name and with another vocabulary. Its encoder is called `roberta` in transformers, too. */
function relative(type: string, name: string): Architecture {
  const own = `${name}Tokenizer`;
  return {
    ...roberta,
    type,
    classifierClass: `${name}ForSequenceClassification`,
    tokenizer: {
      class: own,
      classes: { [own]: { types: false } },
      pairType: 0,
    },
  };
}
