import { z } from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import { rankToTake } from "./adapters/settings.ts";
import { MODEL_FILES } from "./artifacts/model.ts";

export default defineTask({
  description:
    "Merge an adapter at a rank into its model: a model folder that transformers loads as a classifier",
  params: z.strictObject(rankToTake),
  inputs: {
    model: { kind: "model" },
    adapter: { kind: "adapter" },
    report: { kind: "report", optional: true },
    ranks: { kind: "ranks", optional: true },
  },
  output: { kind: "model", files: MODEL_FILES },
  async run(stage) {
    const { mergeAdapter } = await import("./adapters/merge_adapter.ts");
    await mergeAdapter(stage);
  },
});
