import { z } from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import { SCORES_FILES } from "./artifacts/scores.ts";
import {
  epoch,
  evaluationBatch,
  precision,
  split,
} from "./training/settings.ts";

export default defineTask({
  description:
    "Evaluate a model that was trained without adapters; its scores stand at rank 0",
  params: z.strictObject({
    split: split.default("validation").describe(
      "Split to evaluate on; of MNLI, validation is validation_matched",
    ),
    batchSize: evaluationBatch,
    epoch,
    precision,
  }),
  inputs: { model: { kind: "classifier" }, tokens: { kind: "tokens" } },
  output: { kind: "scores", files: SCORES_FILES },
  needs: ["engine"],
  async run(stage) {
    const { evaluateClassifier } = await import(
      "./training/evaluate_classifier.ts"
    );
    await evaluateClassifier(stage);
  },
});
