import { robertaLike } from "./roberta.ts";

/**
 * XLM-RoBERTa (arXiv 1911.02116), as transformers'
 * `XLMRobertaForSequenceClassification` computes it: RoBERTa with a
 * multilingual vocabulary.
 */
export const xlmRoberta = robertaLike(
  "xlm-roberta",
  "XLMRobertaForSequenceClassification",
  "XLMRobertaTokenizer",
);
