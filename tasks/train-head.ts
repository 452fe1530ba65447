import * as z from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import {
  CLASSIFIER_TRAINING,
  classifierSettings,
} from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Train the classification head alone, without adapters: the lower bound",
  params: z.strictObject(classifierSettings),
  ...CLASSIFIER_TRAINING,
  run: async (stage) =>
    (await import("../lib/stages/train_classifier.ts")).trainClassifier(
      stage,
      "head",
    ),
});
