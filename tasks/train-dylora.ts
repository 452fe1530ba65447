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
      "Rows that a step at rank b trains: 1..b; b alone, momentum and decay moving the others; or strictly b alone",
    ),
    sampler: Sampler.default({ kind: "uniform" }).describe(
      "How a step draws its rank: from minRank (1 by default) to the adapter's, alike or the lower the likelier, or from a list",
    ),
    scaling: z.enum(["rank", "maximum"]).default("rank").describe(
      "What alpha is divided by to give the scale at rank b: b, as in the paper, or the adapter's rank at every b",
    ),
    scope: z.enum(["model", "module"]).default("model").describe(
      "Whether a step draws one rank for the whole model, or one for each adapted query and value projection",
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
