import * as z from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import {
  CLASSIFIER_TRAINING,
  classifierSettings,
} from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Fine-tune all weights of a model with a head, without adapters: the upper bound",
  params: z.strictObject({
    ...classifierSettings,
    learningRate: classifierSettings.learningRate.default(2e-5).describe(
      "Peak learning rate; lower than for adapters (1e-5 to 3e-5 in the RoBERTa paper)",
    ),
  }),
  ...CLASSIFIER_TRAINING,
  run: async (stage) =>
    (await import("../lib/stages/train_classifier.ts")).trainClassifier(
      stage,
      "full",
    ),
});
