import { matryoshka } from "../lib/engine/schedules/matryoshka.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { adapterTraining } from "../lib/stages/training_task.ts";

export default defineTask({
  description:
    "Train an adapter at several ranks in every step: the Matryoshka objective",
  ...adapterTraining(matryoshka),
});
