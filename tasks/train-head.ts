import { defineTask } from "../lib/pipeline/task.ts";
import { classifierTraining } from "../lib/stages/training_task.ts";

export default defineTask({
  description:
    "Train the classification head alone, without adapters: the lower bound",
  ...classifierTraining("head"),
});
