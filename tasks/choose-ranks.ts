import { z } from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import { RANKS_FILES } from "./artifacts/module_ranks.ts";
import {
  ADAPTER_INPUTS,
  epoch,
  evaluationBatch,
  precision,
  split,
} from "./training/settings.ts";

export default defineTask({
  description:
    "Choose a rank for each module of an adapter under a budget, greedily by the loss, and score the choice",
  params: z.strictObject({
    averageRank: z.number().min(1).optional().describe(
      "Budget as the mean of all modules' ranks; give this or parameters",
    ),
    parameters: z.int().min(1).optional().describe(
      "Budget as the number of values in all lora_A and lora_B",
    ),
    selectOn: split.default("train").describe(
      "Split by whose loss ranks are chosen; not the one that the choice is scored on",
    ),
    examples: z.int().min(1).default(256).describe(
      "Most examples of that split to use, spread evenly over it",
    ),
    split: split.default("validation").describe(
      "Split that the choice is scored on, beside one rank for all modules",
    ),
    batchSize: evaluationBatch,
    epoch,
    precision,
  }),
  inputs: ADAPTER_INPUTS,
  output: { kind: "ranks", files: RANKS_FILES },
  needs: ["engine"],
  async run(stage) {
    const { chooseRanks } = await import("./training/choose_ranks.ts");
    await chooseRanks(stage);
  },
});
