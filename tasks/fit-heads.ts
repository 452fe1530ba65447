import * as z from "zod";
import { ADAPTER_FILES } from "../lib/peft/adapter.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import {
  ADAPTER_INPUTS,
  ranksToUse,
  usageSettings,
} from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Fit the last layer of an adapter's head for each rank to what the adapter says at its own rank, or to labels; an adapter of embeddings, which have no trained head, is passed on",
  params: z.strictObject({
    ranks: ranksToUse.default("powers").describe(
      "Ranks that get a head of their own, and that the adapter serves from then on: a list; all = every rank that it serves; powers = of these the powers of two and the largest",
    ),
    upTo: z.int().min(1).default(4).describe(
      "Highest rank below the adapter's own whose head is fitted; higher ones keep the trained head, which is nearly right for them",
    ),
    target: z.enum(["adapter", "labels"]).default("adapter").describe(
      "What the heads are fitted to: what the adapter says at its own rank, or the labels of the texts; to these its own rank is fitted as well, such as that of a LoRA",
    ),
    examples: z.int().min(10).optional().describe(
      "Maximum number of training texts, drawn by the seed of the training (default: a twentieth of what the training has read, from 300 to 3000, which costs about a tenth of it; of an imported adapter 3000; of words with labels, 60000 words at most); a fifth of them chooses how far a head may move",
    ),
    precision: usageSettings.precision,
  }),
  inputs: ADAPTER_INPUTS,
  output: { kind: "adapter", files: ADAPTER_FILES },
  needs: ["engine"],
  run: async (stage) =>
    (await import("../lib/stages/heads.ts")).fitHeads({
      ...stage,
      params: { ...stage.params, epoch: "last" },
    }),
});
