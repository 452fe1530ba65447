import { z } from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import { PREDICTIONS_FILES } from "./artifacts/predictions.ts";
import {
  ADAPTER_INPUTS,
  epoch,
  evaluationBatch,
  precision,
  split,
} from "./training/settings.ts";

export default defineTask({
  description: "Predict the labels of a split with an adapter at one rank",
  params: z.strictObject({
    split: split.default("test").describe(
      "Split to predict; it needs no labels",
    ),
    rank: z.int().min(1).optional().describe(
      "Rank to predict at; by default the adapter's own",
    ),
    batchSize: evaluationBatch,
    epoch,
    precision,
  }),
  inputs: ADAPTER_INPUTS,
  output: { kind: "predictions", files: PREDICTIONS_FILES },
  needs: ["engine"],
  async run(stage) {
    const { predictSplit } = await import("./training/predict_split.ts");
    await predictSplit(stage);
  },
});
