import { z } from "zod";
import { ADAPTER_FILES } from "../lib/artifacts/adapter.ts";
import { dylora, dyloraParams } from "../lib/engine/methods/dylora.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { TRAINING_INPUTS, trainingSettings } from "../lib/stages/settings.ts";

export default defineTask({
  description: "Train DyLoRA: one adapter that serves every rank up to its own",
  params: z.strictObject({ ...trainingSettings, ...dyloraParams }),
  inputs: TRAINING_INPUTS,
  output: { kind: "adapter", files: ADAPTER_FILES },
  needs: ["engine"],
  async run(stage) {
    const { trainAdapter } = await import("../lib/stages/train_adapter.ts");
    await trainAdapter(stage, dylora);
  },
});
