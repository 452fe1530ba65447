import * as z from "zod";
import { RANKS_FILES } from "../lib/artifacts/ranks.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import {
  CLASSIFIER_TRAINING,
  modulesToTake,
  split,
  usageSettings,
} from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Estimate a rank for each module before any training, from the intrinsic dimensions of the model's hidden states, as GeLoRA does",
  params: z.strictObject({
    split: split.default("train").describe("Split whose examples to use"),
    examples: z.int().min(3).default(1000).describe(
      "Maximum number of examples, evenly spaced among those with different tokens; the time for their distances grows with its square",
    ),
    maxRank: z.int().min(1).optional().describe(
      "Largest rank of a module, such as that of the adapter to cut; default: none",
    ),
    targetModules: modulesToTake.describe(
      "Modules to estimate ranks of, as in trainings",
    ),
    batchSize: usageSettings.batchSize,
  }),
  inputs: CLASSIFIER_TRAINING.inputs,
  output: { kind: "ranks", files: RANKS_FILES },
  needs: ["engine"],
  run: async (stage) =>
    (await import("../lib/stages/rank_estimate.ts")).estimateRanks(stage),
});
