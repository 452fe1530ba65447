import type { TokenizerClass } from "../../text/tokenizer_files.ts";
import { BertConfig, bertModel } from "./bert.ts";
import type { Architecture, Head } from "./model.ts";

/** A class of transformers with byte-level BPE. */
const byteLevel: TokenizerClass = {
  types: false,
  sets: {
    part: "pre_tokenizer",
    value: (part, { add_prefix_space }) =>
      part?.type !== "ByteLevel"
        ? part
        : { ...part, add_prefix_space: add_prefix_space ?? false },
  },
};

/**
 * RoBERTa (arXiv 1907.11692), as transformers'
 * `RobertaForSequenceClassification` computes it: BERT's encoder with other
 * positions and another head.
 */
export const roberta: Architecture = {
  type: "roberta",
  className: "Roberta",
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
      ...bertModel("roberta", config, robertaHead),
      padId: config.pad_token_id ?? 1,
      countsFromPadding: true,
    };
  },
};

/** RoBERTa's head: two linear layers on the first token. */
export function robertaHead(
  dropout: number,
  activation: "tanh" | "gelu" = "tanh",
): Head {
  return {
    read: (m, x) => m.first(x),
    logits(m, x, outputs) {
      const first = m.dropout(x, dropout);
      const dense = m.activate(m.linear("classifier.dense", first), activation);
      const dropped = m.dropout(dense, dropout);
      return m.logits("classifier.out_proj", dropped, outputs);
    },
  };
}

/**
 * XLM-RoBERTa (arXiv 1911.02116): RoBERTa with the vocabulary of 100 languages.
 */
export const xlmRoberta = relative("xlm-roberta", "XLMRoberta");

/** CamemBERT (arXiv 1911.03894): RoBERTa with a French vocabulary. */
export const camembert = relative("camembert", "Camembert");

/**
 * RoBERTa under another name and with another vocabulary. Its encoder is called
 * `roberta` in transformers, too.
 */
function relative(type: string, name: string): Architecture {
  const tokenizerClass = `${name}Tokenizer`;
  return {
    ...roberta,
    type,
    className: name,
    tokenizer: {
      class: tokenizerClass,
      classes: { [tokenizerClass]: { types: false } },
      pairType: 0,
    },
  };
}
