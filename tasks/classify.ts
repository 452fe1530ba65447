import * as z from "zod";
import { CLASSIFICATION_FILES } from "../lib/artifacts/predictions.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import {
  rankToTake,
  threshold,
  usageSettings,
  writingSettings,
} from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Classify texts given as a parameter, or write what follows them, with an adapter at one rank",
  params: z.strictObject({
    texts: z.array(z.strictObject({
      text: z.string(),
      pair: z.string().exactOptional(),
      words: z.array(z.tuple([z.int(), z.int()])).exactOptional(),
    })).min(1).describe(
      "Texts or pairs of texts, or texts whose words are known: where each starts and ends",
    ),
    rank: rankToTake.rank.describe(
      'Rank to predict at; "recommended" is the one that the input report recommends, and the default if it recommends one; otherwise the default is the rank of the adapter',
    ),
    threshold,
    ...writingSettings,
    epoch: usageSettings.epoch,
    precision: usageSettings.precision,
  }),
  inputs: {
    model: { kind: "model" },
    /** An artifact of kind adapter, or a folder of PEFT. */
    adapter: { kind: "adapter" },
    report: { kind: "report", optional: true },
  },
  output: { kind: "classification", files: CLASSIFICATION_FILES },
  needs: ["engine"],
  run: async (stage) =>
    (await import("../lib/stages/predict.ts")).classify(stage),
});
