import { z } from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import { CLASSIFICATION_FILES } from "./artifacts/classification.ts";
import { epoch, precision } from "./training/settings.ts";

export default defineTask({
  description: "Classify texts with an adapter at one rank",
  params: z.strictObject({
    texts: z.array(z.strictObject({
      text: z.string(),
      pair: z.string().optional(),
    })).min(1).describe("The texts, or the pairs of them"),
    rank: z.int().min(1).optional().describe(
      "Rank to predict at; by default the adapter's own",
    ),
    epoch,
    precision,
  }),
  inputs: { model: { kind: "model" }, adapter: { kind: "adapter" } },
  output: { kind: "classification", files: CLASSIFICATION_FILES },
  needs: ["engine"],
  async run(stage) {
    const { classifyTexts } = await import("./training/classify_texts.ts");
    await classifyTexts(stage);
  },
});
