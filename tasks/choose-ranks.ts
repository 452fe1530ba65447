import * as z from "zod";
import { RANKS_FILES } from "../lib/artifacts/ranks.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import {
  ADAPTER_INPUTS,
  split,
  usageSettings,
} from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Choose a rank for each module of an adapter within a budget, greedily by the loss, and score the chosen ranks",
  params: z.strictObject({
    averageRank: z.number().min(1).describe(
      "Budget as the mean rank of all modules",
    ),
    selectOn: split.default("train").describe(
      "Split whose loss decides the ranks; must differ from split",
    ),
    examples: z.int().min(1).default(256).describe(
      "Maximum number of examples of selectOn to use, evenly spaced",
    ),
    split: split.default("validation").describe(
      "Split on which to score the chosen ranks and, for comparison, a uniform rank",
    ),
    ...usageSettings,
  }),
  inputs: ADAPTER_INPUTS,
  output: { kind: "ranks", files: RANKS_FILES },
  needs: ["engine"],
  run: async (stage) =>
    (await import("../lib/stages/rank_search.ts")).chooseRanks(stage),
});
