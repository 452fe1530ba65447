import { z } from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import { ADAPTER_FILES } from "../lib/artifacts/adapter.ts";
import { Sampler } from "../lib/artifacts/training.ts";
import { TRAINING_INPUTS, trainingSettings } from "../lib/stages/settings.ts";

export default defineTask({
  description: "Train DyLoRA: one adapter that serves every rank up to its own",
  params: z.strictObject({
    ...trainingSettings,
    mode: z.enum(["all", "frozen", "frozen-strict"]).default("all").describe(
      "Rows that a step at rank b trains: all = 1 to b; frozen = b, while momentum and weight decay still move the others; frozen-strict = b only",
    ),
    sampler: Sampler.default({ kind: "uniform" }).describe(
      "Distribution of the rank of a step: uniform or geometric from minRank (default 1) to rank, or uniform over a list",
    ),
    scaling: z.enum(["rank", "maximum"]).default("rank").describe(
      "Scale at rank b: rank = alpha / b, as in the paper; maximum = alpha / rank of the adapter at every b",
    ),
    scope: z.enum(["model", "module"]).default("model").describe(
      "What shares the rank drawn by a step: the whole model, or each adapted module draws its own",
    ),
  }),
  inputs: TRAINING_INPUTS,
  output: { kind: "adapter", files: ADAPTER_FILES },
  needs: ["engine"],
  async run(stage) {
    const { mode, sampler, scaling, scope, ...settings } = stage.params;
    const { trainAdapter } = await import("../lib/stages/train_adapter.ts");
    await trainAdapter({ ...stage, params: settings }, {
      method: "dylora",
      mode,
      sampler,
      scaling,
      scope,
    });
  },
});
