import * as z from "zod";
import { RankScaling } from "../lib/engine/adapters/scale.ts";
import { dylora } from "../lib/engine/schedules/dylora.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { ADAPTER_TRAINING, trainingSettings } from "../lib/stages/settings.ts";

export default defineTask({
  description: "Train DyLoRA: one adapter that serves every rank up to its own",
  params: z.strictObject({
    ...trainingSettings,
    ...dylora.settings,
    scaling: RankScaling.default(dylora.scaling).describe(
      "Scale at rank b: rank = alpha / b, as in the paper; maximum = alpha / R at every b, with R the rank of the adapter; {exponent: p} = (alpha / R) (R / b)^p",
    ),
  }),
  ...ADAPTER_TRAINING,
  run: async (stage) =>
    (await import("../lib/stages/train_adapter.ts")).trainAdapter(
      stage,
      dylora,
    ),
});
