import { createHash } from "node:crypto";

/** One example of a task: a sentence, or a pair of them. */
export interface Example {
  /** Number that the source gives it, by which predictions refer to it. */
  readonly index: number;
  readonly text: string;
  /** The second sentence of a pair. */
  readonly pair?: string;
  /** Class number, or score if the task is a regression; absent where the benchmark keeps it secret. */
  readonly label?: number;
}

/**
 * Draws `count` examples without replacement and keeps their order.
 *
 * Whether an example is drawn depends on the seed and on its index alone, so
 * the same seed draws the same examples on every machine, and a larger subset
 * contains the smaller one.
 */
export function drawSubset(
  examples: readonly Example[],
  count: number,
  seed: number,
): readonly Example[] {
  if (count >= examples.length) return examples;
  const lots = examples.map(({ index }) =>
    createHash("sha256").update(`${seed}:${index}`).digest("hex")
  );
  const last = lots.toSorted()[count - 1]!;
  return examples.filter((_, i) => lots[i]! <= last);
}
