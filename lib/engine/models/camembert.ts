import { robertaLike } from "./roberta.ts";

/**
 * CamemBERT (arXiv 1911.03894), as transformers'
 * `CamembertForSequenceClassification` computes it: RoBERTa with a French
 * vocabulary.
 */
export const camembert = robertaLike(
  "camembert",
  "CamembertForSequenceClassification",
  "CamembertTokenizer",
);
