import * as z from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import { CLASSIFIER_FILES } from "../lib/artifacts/classifier.ts";
import {
  CLASSIFIER_INPUTS,
  classifierSettings,
} from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Train the classification head alone, without adapters: the lower bound",
  params: z.strictObject(classifierSettings),
  inputs: CLASSIFIER_INPUTS,
  output: { kind: "classifier", files: CLASSIFIER_FILES },
  needs: ["engine"],
  async run(stage) {
    const { trainClassifier } = await import(
      "../lib/stages/train_classifier.ts"
    );
    await trainClassifier(stage, "head");
  },
});
