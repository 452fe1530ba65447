import type { Examples } from "../batches.ts";
import type { Classifier } from "../classifier.ts";
import type { TrainingHooks } from "./hooks.ts";
import type { TrainingOptions } from "./options.ts";
import type { TrainingResult } from "./result.ts";
import { TrainingRun } from "./training_run.ts";

/**
 * Trains a classifier's adapters and head.
 *
 * Deterministic: the same examples, start, options and engine give the same
 * bits, whether training was interrupted or not.
 *
 * @param initial Flat parameters at the start, `[size]`
 * @throws {DivergedError} If the loss becomes infinite or not a number
 * @throws The signal's reason, if it is aborted
 */
export async function train(
  classifier: Classifier,
  initial: Float32Array,
  examples: Examples,
  options: TrainingOptions,
  hooks: TrainingHooks,
): Promise<TrainingResult> {
  using run = new TrainingRun(classifier, initial, examples, options, hooks);
  while (true) {
    await run.evaluateEpoch();
    if (run.done) return await run.result();
    await run.finishEpoch();
  }
}
