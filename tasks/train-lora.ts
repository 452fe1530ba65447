import * as z from "zod";
import { fixed } from "../lib/engine/schedules/fixed.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { ADAPTER_TRAINING, trainingSettings } from "../lib/stages/settings.ts";

export default defineTask({
  description: "Train LoRA at one rank: the baseline for DyLoRA",
  params: z.strictObject(trainingSettings),
  ...ADAPTER_TRAINING,
  run: async (stage) =>
    (await import("../lib/stages/train_adapter.ts")).trainAdapter(stage, fixed),
});
