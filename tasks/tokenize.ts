import * as z from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import { DEFAULT_LENGTH, templateDate } from "../lib/stages/settings.ts";

export default defineTask({
  description: "Tokenize a data set for a model",
  params: z.strictObject({
    maxLength: z.int().min(8).optional().describe(
      `Maximum sequence length in tokens, special tokens included; default: ${DEFAULT_LENGTH}, or the positions of the model if fewer`,
    ),
    date: templateDate,
  }),
  inputs: { data: { kind: "dataset" }, model: { kind: "model" } },
  output: { kind: "tokens", files: ["tokens.json"] },
  run: async (stage) =>
    (await import("../lib/stages/tokenize.ts")).tokenize(stage),
});
