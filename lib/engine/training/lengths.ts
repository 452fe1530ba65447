import { epochBatches, type Examples } from "../batches.ts";
import type { Classifier } from "../classifier.ts";
import { trainingFlops } from "../flops.ts";
import { paddedLengths } from "../padded_lengths.ts";
import { seededRandom } from "../random.ts";
import type { TrainingOptions } from "./options.ts";

/** The length that each batch is padded to, as a sample of a pass over the examples shows what lengths there are. */
export function trainingLengths(
  classifier: Classifier,
  examples: Examples,
  { padTo, seed, batchSize, epochs }: TrainingOptions,
  groups: number,
): (indices: readonly number[]) => number {
  if (padTo !== undefined) return () => padTo;
  const sample = epochBatches(
    examples,
    batchSize,
    seededRandom(seed, "lengths"),
  );
  return paddedLengths(
    examples,
    sample,
    epochs,
    (shape) => trainingFlops(classifier, shape, groups),
  );
}
