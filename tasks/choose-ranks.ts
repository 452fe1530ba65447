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
    "Choose a rank for each module of an adapter within a budget, greedily by the loss, or take those of the input ranks; and score them",
  params: z.strictObject({
    averageRank: z.number().min(1).optional().describe(
      "Budget of the search as the mean rank of all modules; to leave out with the input ranks",
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
  inputs: { ...ADAPTER_INPUTS, ranks: { kind: "ranks", optional: true } },
  output: { kind: "ranks", files: RANKS_FILES },
  needs: ["engine"],
  run: async (stage) =>
    (await import("../lib/stages/rank_search.ts")).chooseRanks(stage),
});
