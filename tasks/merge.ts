import * as z from "zod";
import { MODEL_FILES } from "../lib/artifacts/model.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { CUT_INPUTS, rankToTake } from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Merge an adapter into its model, at one rank or at a rank per module, as a classifier for transformers",
  params: z.strictObject(rankToTake),
  inputs: { model: { kind: "model" }, ...CUT_INPUTS },
  output: { kind: "model", files: MODEL_FILES },
  run: async (stage) =>
    (await import("../lib/stages/cut_adapter.ts")).merge(stage),
});
