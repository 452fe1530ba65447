import * as z from "zod";
import { SCORES_FILES } from "../lib/artifacts/scores.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import {
  evaluatedSplit,
  scoredThreshold,
  usageSettings,
} from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Evaluate a model trained without adapters; its scores are reported at rank 0",
  params: z.strictObject({
    split: evaluatedSplit,
    threshold: scoredThreshold,
    ...usageSettings,
  }),
  inputs: { model: { kind: "classifier" }, tokens: { kind: "tokens" } },
  output: { kind: "scores", files: SCORES_FILES },
  needs: ["engine"],
  run: async (stage) =>
    (await import("../lib/stages/evaluate.ts")).evaluateModel(stage),
});
