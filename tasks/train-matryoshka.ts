import { z } from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import { ADAPTER_FILES } from "../lib/artifacts/adapter.ts";
import { TRAINING_INPUTS, trainingSettings } from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Train an adapter at all of its ranks in every step: the Matryoshka objective",
  params: z.strictObject({
    ...trainingSettings,
    objective: z.enum(["losses", "outputs"]).default("losses").describe(
      "What is weighted over the ranks: their losses, each computed (a step costs as many passes as there are ranks); or, as in MatryoshkaLoRA (arXiv 2605.07850), the mean of what they add to a projection, with one loss",
    ),
    ranks: z.array(z.int().min(1)).min(1).optional().describe(
      "Ranks that every step trains, ascending up to the adapter's; by default all of them",
    ),
    weights: z.array(z.number().positive()).min(1).optional().describe(
      "Weight of each of these ranks, of which the proportions count; by default all alike",
    ),
  }),
  inputs: TRAINING_INPUTS,
  output: { kind: "adapter", files: ADAPTER_FILES },
  needs: ["engine"],
  async run(stage) {
    const { objective, ranks, weights, ...settings } = stage.params;
    const { matryoshka } = await import("../lib/engine/ranks/matryoshka.ts");
    const { trainAdapter } = await import("../lib/stages/train_adapter.ts");
    await trainAdapter({ ...stage, params: settings }, {
      method: "matryoshka",
      mode: "all",
      sampler: { kind: "list", ranks: [settings.rank] },
      scaling: "rank",
      scope: "model",
      matryoshka: matryoshka(objective, settings.rank, ranks, weights),
    });
  },
});
