import { z } from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import { SCORES_FILES } from "./artifacts/scores.ts";
import { epoch, precision } from "./training/settings.ts";

export default defineTask({
  description:
    "Evaluate an adapter at every rank that it serves, in one pass over the data",
  params: z.strictObject({
    split: z.string().regex(/^[a-z_]+$/).default("validation").describe(
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
  inputs: {
    model: { kind: "model" },
    tokens: { kind: "tokens" },
    adapter: { kind: "adapter" },
  },
  output: { kind: "scores", files: SCORES_FILES },
  needs: ["engine"],
  async run(stage) {
    const { evaluateAdapter } = await import("./training/evaluate_adapter.ts");
    await evaluateAdapter(stage);
  },
});
