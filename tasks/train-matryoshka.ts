import * as z from "zod";
import { ADAPTER_FILES } from "../lib/artifacts/adapter.ts";
import { matryoshka } from "../lib/engine/schedules/matryoshka.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { TRAINING_INPUTS, trainingSettings } from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Train an adapter at several ranks in every step: the Matryoshka objective",
  params: z.strictObject({ ...trainingSettings, ...matryoshka.settings }),
  inputs: TRAINING_INPUTS,
  output: { kind: "adapter", files: ADAPTER_FILES },
  needs: ["engine"],
  async run(stage) {
    const { trainAdapter } = await import("../lib/stages/train_adapter.ts");
    await trainAdapter(stage, matryoshka);
  },
});
