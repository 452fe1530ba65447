import { defineTask } from "../lib/pipeline/task.ts";
import { classifierSettings } from "../lib/stages/settings.ts";
import { classifierTraining } from "../lib/stages/training_task.ts";

const training = classifierTraining("full");

export default defineTask({
  description:
    "Fine-tune all weights of a model with a head, without adapters: the upper bound",
  ...training,
  params: training.params.extend({
    learningRate: classifierSettings.learningRate.default(2e-5).describe(
      "Peak learning rate; lower than for adapters (1e-5 to 3e-5 in the RoBERTa paper)",
    ),
  }),
});
