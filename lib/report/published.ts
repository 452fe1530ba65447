/** Figures of papers, as published, that a report shows beside its own. */

/** Means over the eight tasks of GLUE. */
export const MEAN = {
  tasks: ["cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb"],
  text:
    "DyLoRA paper (arXiv 2210.07558, table 2), RoBERTa-base, mean over the eight tasks: LoRA 54.90 and DyLoRA 84.22 at rank 1, LoRA 85.27 and DyLoRA 85.44 at rank 8. The paper's LoRA at rank 1 is most likely a truncated LoRA of rank 8.",
};

/** Which rows are trained, and how ranks are drawn. */
export const ABLATION = {
  text: "Ablation in the DyLoRA paper (arXiv 2210.07558, table 4):",
  /** How the columns draw ranks, as trainings say in their settings. */
  draws: [
    "uniformly for each step",
    "uniformly for each step, mode frozen",
    "geometrically (p = 0.15) for each step",
  ],
  header: [
    "Rank",
    "all rows, uniform",
    "frozen rows, uniform",
    "all rows, geometric (p = 0.15)",
  ],
  rows: [
    ["1", "83.30", "81.61", "83.42"],
    ["8", "84.47", "83.31", "not available"],
  ],
};

/** Methods on six tasks of GLUE. */
export const TASKS = {
  text: "FourierFT paper (arXiv 2405.03003, table 2), RoBERTa-base:",
  tasks: ["sst2", "mrpc", "cola", "qnli", "rte", "stsb"],
  rows: [
    ["DyLoRA", "94.3", "89.5", "61.1", "92.2", "78.7", "91.1"],
    ["LoRA", "95.1", "89.7", "63.4", "93.3", "78.4", "91.5"],
  ],
};

/** Seconds of one training of DyLoRA and of a LoRA of each rank. */
export const SPEED_UP = {
  task: "mrpc",
  row: [
    "DyLoRA paper: LoRA, 8 ranks / DyLoRA, ranks 1 to 8",
    "not published",
    "7.83x",
    "not published",
    "not published",
    "not published",
  ],
  text:
    "DyLoRA paper (arXiv 2210.07558, appendix A), MRPC with RoBERTa-base: 408.39 s for DyLoRA, 8 x 399.95 s for LoRA, training only.",
};
