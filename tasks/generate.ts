import * as z from "zod";
import { SCORES_FILES } from "../lib/artifacts/scores.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import {
  evaluatedSplit,
  ranksToScore,
  REPORT_INPUT,
  usageSettings,
  writingSettings,
} from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Write texts for a split at ranks of an adapter side by side, and score them by BLEU, ROUGE-L and NIST",
  params: z.strictObject({
    split: evaluatedSplit,
    ranks: ranksToScore.default("powers").describe(
      "Ranks to write at: a list; all = every rank that the adapter serves; powers = of these the powers of two and the largest; recommended = the one that the input report recommends",
    ),
    ...writingSettings,
    ...usageSettings,
    batchSize: z.int().min(1).default(8).describe("Prompts at a time"),
  }),
  inputs: {
    model: { kind: "model" },
    adapter: { kind: "adapter" },
    data: { kind: "dataset" },
    ...REPORT_INPUT,
  },
  output: { kind: "scores", files: [...SCORES_FILES, "texts.jsonl"] },
  needs: ["engine"],
  run: async (stage) =>
    (await import("../lib/stages/generate.ts")).generate(stage),
});
