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
  async run({ params, inputs, output, log }) {
    const { join } = await import("@std/path/posix/join");
    const { packSubmission } = await import("../lib/benchmarks/glue.ts");
    const { readPredictions } = await import("../lib/artifacts/predictions.ts");
    const predictions = await Promise.all(
      inputs.predictions.map(({ path }) => readPredictions(path)),
    );
    for (const { task, split, rank, examples } of predictions) {
      log(`${task} ${split}: ${examples} examples at rank ${rank}`);
    }
    const zip = await packSubmission(predictions, params);
    await Deno.writeFile(join(output, "submission.zip"), zip);
  },
});
