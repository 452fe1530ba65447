import { fixed } from "../lib/engine/schedules/fixed.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { adapterTraining } from "../lib/stages/training_task.ts";

export default defineTask({
  description: "Train LoRA at one rank: the baseline for DyLoRA",
  ...adapterTraining(fixed),
});
