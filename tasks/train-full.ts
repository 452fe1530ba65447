import { z } from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import { CLASSIFIER_FILES } from "../lib/artifacts/classifier.ts";
import { classifierSettings } from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Fine-tune all weights of the model with a head, without adapters: the upper bound",
  params: z.strictObject({
    ...classifierSettings,
    learningRate: classifierSettings.learningRate.default(2e-5).describe(
      "Highest learning rate; all weights want a lower one than adapters do (RoBERTa's paper takes 1e-5 to 3e-5)",
    ),
  }),
  inputs: { model: { kind: "model" }, tokens: { kind: "tokens" } },
  output: { kind: "classifier", files: CLASSIFIER_FILES },
  needs: ["engine"],
  async run(stage) {
    const { trainClassifier } = await import(
      "../lib/stages/train_classifier.ts"
    );
    await trainClassifier(stage, "full");
  },
});
