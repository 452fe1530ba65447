import { createHash } from "node:crypto";

/** An example of a task: a text or a pair of texts. */
export interface Example {
  /** Number of the example in its source; predictions refer to it. */
  readonly index: number;
  readonly text: string;
  /** Second text of a pair. */
  readonly pair?: string;
  /** Class number, or score of a regression; absent if it is not published. */
  readonly label?: number;
}

/**
 * Draws `count` examples without replacement, in their original order.
 *
 * Selection depends only on the seed and on each example's index: the same
 * seed selects the same examples everywhere, and a larger subset contains
 * every smaller one.
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
