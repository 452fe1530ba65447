/** Figures of papers, as published, that a report shows beside its own. */

/** Means over the eight tasks of GLUE. */
export const MEAN = {
  tasks: ["cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb"],
  text:
    "DyLoRA paper (arXiv 2210.07558, table 2), RoBERTa-base, mean over the eight tasks: LoRA 54.90 and DyLoRA 84.22 at rank 1, LoRA 85.27 and DyLoRA 85.44 at rank 8. The paper's LoRA at rank 1 is most likely a truncated LoRA of rank 8.",
};

/** Which rows are trained, and how ranks are drawn. */
export const ABLATION = {
  heading: "Ablation in the DyLoRA paper (arXiv 2210.07558, table 4):",
  ranks: [1, 8],
  columns: [
    {
      title: "all rows, uniform",
      /** As trainings say in their settings. */
      draws: "uniformly for each step",
      scores: ["83.30", "84.47"],
    },
    {
      title: "frozen rows, uniform",
      draws: "uniformly for each step, mode frozen",
      scores: ["81.61", "83.31"],
    },
    {
      title: "all rows, geometric (p = 0.15)",
      draws: "geometrically (p = 0.15) for each step",
      scores: ["83.42", "not available"],
    },
  ],
};

/** Methods on six tasks of GLUE. */
export const TASKS = {
  heading: "FourierFT paper (arXiv 2405.03003, table 2), RoBERTa-base:",
  tasks: ["sst2", "mrpc", "cola", "qnli", "rte", "stsb"],
  rows: [
    {
      title: "DyLoRA",
      scores: ["94.3", "89.5", "61.1", "92.2", "78.7", "91.1"],
    },
    { title: "LoRA", scores: ["95.1", "89.7", "63.4", "93.3", "78.4", "91.5"] },
  ],
};

/** Seconds of one training of DyLoRA and of a LoRA of each rank. */
export const SPEED_UP = {
  task: "mrpc",
  title: "DyLoRA paper: LoRA, 8 ranks / DyLoRA, ranks 1 to 8",
  training: "7.83x",
  note:
    "DyLoRA paper (arXiv 2210.07558, appendix A), MRPC with RoBERTa-base: 408.39 s for DyLoRA, 8 x 399.95 s for LoRA, training only.",
};
