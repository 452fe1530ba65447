import { z } from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import { rankToTake } from "./adapters/settings.ts";
import { PEFT_FILES } from "./artifacts/peft_files.ts";

export default defineTask({
  description:
    "Export an adapter at a rank, or at a rank for each module, for PEFT",
  params: z.strictObject({
    ...rankToTake,
    baseModel: z.string().min(1).optional().describe(
      "Name of the base model for PEFT, such as OWNER/NAME of the hub; by default that of the model that was trained on",
    ),
  }),
  inputs: {
    adapter: { kind: "adapter" },
    report: { kind: "report", optional: true },
    ranks: { kind: "ranks", optional: true },
  },
  output: { kind: "peft", files: [...PEFT_FILES, "README.md"] },
  async run(stage) {
    const { exportAdapter } = await import("./adapters/export_adapter.ts");
    await exportAdapter(stage);
  },
});
