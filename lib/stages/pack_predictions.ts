import { join } from "@std/path/posix/join";
import { readPredictions } from "../artifacts/predictions.ts";
import { packSubmission } from "../benchmarks/glue.ts";
import type { InputArtifact, Stage } from "../pipeline/task.ts";

/** Packs the predictions of a stage into an artifact of kind `submission`. */
export async function pack(
  { params, inputs, output, log }: Stage<
    { readonly partial: boolean },
    { readonly predictions: readonly InputArtifact[] }
  >,
): Promise<void> {
  const predictions = await Promise.all(
    inputs.predictions.map(({ path }) => readPredictions(path)),
  );
  for (const { task, split, rank, examples } of predictions) {
    log(`${task} ${split}: ${examples} examples at rank ${rank}`);
  }
  const zip = await packSubmission(predictions, params);
  await Deno.writeFile(join(output, "submission.zip"), zip);
}
