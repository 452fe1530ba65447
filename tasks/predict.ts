import * as z from "zod";
import { PREDICTIONS_FILES } from "../lib/artifacts/predictions.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import {
  ADAPTER_INPUTS,
  split,
  threshold,
  usageSettings,
} from "../lib/stages/settings.ts";

export default defineTask({
  description: "Predict the labels of a split with an adapter at one rank",
  params: z.strictObject({
    split: split.default("test").describe(
      "Split to predict; labels are not needed",
    ),
    rank: z.int().min(1).optional().describe(
      "Rank to predict at; default: the rank of the adapter",
    ),
    threshold,
    ...usageSettings,
  }),
  inputs: ADAPTER_INPUTS,
  output: { kind: "predictions", files: PREDICTIONS_FILES },
  needs: ["engine"],
  run: async (stage) =>
    (await import("../lib/stages/predict.ts")).predict(stage),
});
