import * as z from "zod";
import { ADAPTER_FILES } from "../lib/artifacts/adapter.ts";
import { fixed } from "../lib/engine/schedules/fixed.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { TRAINING_INPUTS, trainingSettings } from "../lib/stages/settings.ts";

export default defineTask({
  description: "Train LoRA at one rank: the baseline for DyLoRA",
  params: z.strictObject(trainingSettings),
  inputs: TRAINING_INPUTS,
  output: { kind: "adapter", files: ADAPTER_FILES },
  needs: ["engine"],
  async run(stage) {
    const { trainAdapter } = await import("../lib/stages/train_adapter.ts");
    await trainAdapter(stage, fixed);
  },
});
