import {
  type AdapterMethod,
  firstRows,
  type Method,
  rankScale,
} from "./method.ts";

/** LoRA at one rank (arXiv 2106.09685): the baseline. */
export const lora: AdapterMethod<unknown, Record<never, never>> = {
  name: "lora",
  title: "LoRA",
  role: "baseline",
  fields: [],
  lowestRank: ({ rank }) => rank,
  scaling: () => "maximum",
  entry: () => ({}),
  objective: ({ rank, alpha }) => ({
    scope: "model",
    lossWeights: [1],
    isStrict: false,
    draw: () => rank,
    scale: (b) => rankScale(b, alpha, rank, "maximum"),
    gradientMask: (b) => firstRows(b, rank),
  }),
};

/** A LoRA cut to its first rows. */
export const loraTruncated: Method = {
  name: "lora-truncated",
  title: "Truncated LoRA",
  role: "candidate",
  reduces: { method: "lora", by: "truncation" },
  fields: [],
  lowestRank: () => 1,
};

/** A LoRA whose products are replaced by their truncated singular value decomposition. */
export const loraSvd: Method = {
  name: "lora-svd",
  title: "LoRA by SVD",
  role: "candidate",
  reduces: { method: "lora", by: "svd" },
  fields: [],
  lowestRank: () => 1,
};

/** A LoRA that PEFT trained, cut to its first rows. */
export const importedLoraTruncated: Method = {
  ...loraTruncated,
  name: "imported-lora-truncated",
  title: "Truncated imported LoRA",
  importedScaling: "maximum",
  reduces: { method: "imported-lora", by: "truncation" },
};

/** A LoRA that PEFT trained, by the SVD of its products. */
export const importedLoraSvd: Method = {
  ...loraSvd,
  name: "imported-lora-svd",
  title: "Imported LoRA by SVD",
  importedScaling: "maximum",
  reduces: { method: "imported-lora", by: "svd" },
};

/** A LoRA that PEFT trained. */
export const importedLora: Method = {
  name: "imported-lora",
  title: "Imported LoRA",
  role: "candidate",
  importedScaling: "maximum",
  fields: [],
  lowestRank: ({ rank }) => rank,
};
