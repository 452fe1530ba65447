import { z } from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import { ADAPTER_FILES } from "../lib/artifacts/adapter.ts";
import { TRAINING_INPUTS, trainingSettings } from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Train an adapter at several ranks in every step: the Matryoshka objective",
  params: z.strictObject({
    ...trainingSettings,
    objective: z.enum(["losses", "outputs"]).default("losses").describe(
      "What is averaged over the ranks: losses, at one pass per rank and step; or outputs, the updates that the ranks add to a module, with one loss as in MatryoshkaLoRA (arXiv 2605.07850)",
    ),
    ranks: z.array(z.int().min(1)).min(1).optional().describe(
      "Ranks that every step trains, in ascending order up to rank; default: all from 1",
    ),
    weights: z.array(z.number().positive()).min(1).optional().describe(
      "Relative weight of each of these ranks; default: equal weights",
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
