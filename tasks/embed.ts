import * as z from "zod";
import { EMBEDDINGS_FILES } from "../lib/artifacts/embeddings.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { rankToTake, usageSettings } from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Embed texts given as a parameter with an adapter of a sentence encoder at one rank",
  params: z.strictObject({
    texts: z.array(z.string()).min(1).describe("Texts to embed"),
    rank: rankToTake.rank.describe(
      'Rank to embed at; "recommended" is the one that the input report recommends, and the default if it recommends one; otherwise the default is the rank of the adapter',
    ),
    epoch: usageSettings.epoch,
    precision: usageSettings.precision,
  }),
  inputs: {
    model: { kind: "model" },
    /** An artifact of kind adapter, or a folder of PEFT. */
    adapter: { kind: "adapter" },
    report: { kind: "report", optional: true },
  },
  output: { kind: "embeddings", files: EMBEDDINGS_FILES },
  needs: ["engine"],
  run: async (stage) => (await import("../lib/stages/embed.ts")).embed(stage),
});
