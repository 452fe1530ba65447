import { z } from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import { SCORES_FILES } from "./artifacts/scores.ts";
import {
  ADAPTER_INPUTS,
  epoch,
  precision,
  split,
} from "./training/settings.ts";

export default defineTask({
  description:
    "Evaluate an adapter at every rank that it serves, in one pass over the data",
  params: z.strictObject({
    split: split.default("validation").describe(
      "Split to evaluate on; of MNLI, validation is validation_matched",
    ),
    ranks: z.array(z.int().min(1)).min(1).optional().describe(
      "Ranks to evaluate; by default every rank of DyLoRA, the adapter's own of LoRA",
    ),
    batchSize: z.int().min(1).optional().describe(
      "Examples of one forward pass; by default 32, or fewer where more than 8 ranks are evaluated at once",
    ),
    epoch,
    precision,
  }),
  inputs: ADAPTER_INPUTS,
  output: { kind: "scores", files: SCORES_FILES },
  needs: ["engine"],
  async run(stage) {
    const { evaluateAdapter } = await import("./training/evaluate_adapter.ts");
    await evaluateAdapter(stage);
  },
});
