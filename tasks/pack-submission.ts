import { join } from "@std/path/posix/join";
import * as z from "zod";
import { readPredictions } from "../lib/artifacts/predictions.ts";
import { packSubmission } from "../lib/benchmarks/glue.ts";
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
