import * as z from "zod";
import { defineTask } from "../lib/pipeline/task.ts";

export default defineTask({
  description:
    "Pack predictions for GLUE's test sets into the zip file for its server",
  params: z.strictObject({
    partial: z.boolean().default(false).describe(
      "Allow missing tasks or examples; the server rejects such a file",
    ),
  }),
  inputs: { predictions: { kind: "predictions", many: true } },
  output: { kind: "submission", files: ["submission.zip"] },
  small: true,
  run: async (stage) =>
    (await import("../lib/stages/pack_predictions.ts")).pack(stage),
});
