import * as z from "zod";
import { SCORES_FILES } from "../lib/artifacts/scores.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import {
  ADAPTER_INPUTS,
  evaluatedSplit,
  ranksToScore,
  REPORT_INPUT,
  scoredThreshold,
  usageSettings,
} from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Evaluate an adapter at all ranks that it serves, in one pass over the data",
  params: z.strictObject({
    split: evaluatedSplit,
    ranks: ranksToScore.default("all").describe(
      "Ranks to evaluate: a list; all = every rank that the adapter serves; powers = of these the powers of two and the largest; recommended = the one that the input report recommends, with its threshold if that is the best one there",
    ),
    threshold: scoredThreshold,
    ...usageSettings,
    batchSize: z.int().min(1).optional().describe(
      "Examples per forward pass; default: 32, or fewer for more than 8 ranks",
    ),
  }),
  inputs: { ...ADAPTER_INPUTS, ...REPORT_INPUT },
  output: { kind: "scores", files: SCORES_FILES },
  needs: ["engine"],
  run: async (stage) =>
    (await import("../lib/stages/evaluate.ts")).evaluateAdapter(stage),
});
