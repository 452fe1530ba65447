import { z } from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import { ADAPTER_FILES } from "../lib/artifacts/adapter.ts";
import { TRAINING_INPUTS, trainingSettings } from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Train LoRA at one rank: the baseline that DyLoRA is compared with",
  params: z.strictObject(trainingSettings),
  inputs: TRAINING_INPUTS,
  output: { kind: "adapter", files: ADAPTER_FILES },
  needs: ["engine"],
  async run(stage) {
    const { trainAdapter } = await import("../lib/stages/train_adapter.ts");
    // LoRA of rank r is DyLoRA of maximum rank r that always draws r.
    await trainAdapter(stage, {
      method: "lora",
      mode: "all",
      sampler: { kind: "list", ranks: [stage.params.rank] },
      scaling: "maximum",
      scope: "model",
    });
  },
});
