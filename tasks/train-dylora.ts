import { Divisor } from "../lib/engine/adapters/scale.ts";
import { dylora } from "../lib/engine/schedules/dylora.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { adapterTraining } from "../lib/stages/training_task.ts";

const training = adapterTraining(dylora);

export default defineTask({
  description: "Train DyLoRA: one adapter that serves every rank up to its own",
  ...training,
  params: training.params.extend({
    scaling: Divisor.default(dylora.scaling).describe(
      "Scale at rank b: rank = alpha / b, as in the paper; maximum = alpha / R at every b, with R the rank of the adapter",
    ),
  }),
});
