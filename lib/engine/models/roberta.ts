import type { TokenizerClass } from "../../text/tokenizer_files.ts";
import { BertConfig, bertEncoder, bertSizes } from "./bert.ts";
import type { Architecture, Pass } from "./model.ts";

/** Byte-level BPE. */
const bytes: TokenizerClass = {
  types: false,
  sets: {
    part: "pre_tokenizer",
    value: (given, options) =>
      given?.type !== "ByteLevel" ? given : {
        ...given,
        add_prefix_space: options.add_prefix_space ?? false,
      },
  },
};

/**
 * RoBERTa (arXiv 1907.11692), as transformers' `RobertaForSequenceClassification`
 * computes it: BERT's encoder with other positions and another head.
 */
export const roberta = robertaLike("roberta", "Roberta", {
  RobertaTokenizer: bytes,
  BartTokenizer: bytes,
  GPT2Tokenizer: bytes,
  LongformerTokenizer: bytes,
});

/** XLM-RoBERTa (arXiv 1911.02116): RoBERTa with the vocabulary of 100 languages. */
export const xlmRoberta = robertaLike("xlm-roberta", "XLMRoberta", {
  XLMRobertaTokenizer: { types: false },
});

/** CamemBERT (arXiv 1911.03894): RoBERTa with a French vocabulary. */
export const camembert = robertaLike("camembert", "Camembert", {
  CamembertTokenizer: { types: false },
});

/** An architecture that differs from RoBERTa in names only. Its encoder is called `roberta` in transformers, too. */
function robertaLike(
  type: string,
  name: string,
  classes: Readonly<Record<string, TokenizerClass>>,
): Architecture {
  return {
    type,
    classifierClass: `${name}ForSequenceClassification`,
    prefix: "roberta",
    targetModules: ["query", "value"],
    tokenizer: { class: `${name}Tokenizer`, classes, pairType: 0 },
    configure(json) {
      const config = BertConfig.parse(json);
      const padId = config.pad_token_id ?? 1;
      return {
        ...bertSizes(config),
        padId,
        maxLength: config.max_position_embeddings - padId - 1,
        countsFromPadding: true,
        encoder: (m) => bertEncoder(m, "roberta", config),
      };
    },
    head: robertaHead,
  };
}

/** RoBERTa's head. */
export function robertaHead<T>(
  m: Pass<T>,
  x: T,
  labels: number,
  { dropout }: { readonly dropout: number },
): T {
  const first = m.dropout(m.first(x), dropout);
  const dense = m.tanh(m.linear("classifier.dense", first));
  return m.logits("classifier.out_proj", m.dropout(dense, dropout), labels);
}
