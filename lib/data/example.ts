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

/** Examples as token ids, one after the other, without padding. */
export interface EncodedExamples {
  /** Token ids with special tokens, `[tokens]`. */
  readonly ids: Int32Array;
  /** Token types, `[tokens]`: 1 for the second text of a pair if the model distinguishes the two. */
  readonly types: Uint8Array;
  /** Example i is `ids[offsets[i]..offsets[i + 1])`, `[examples + 1]`. */
  readonly offsets: Int32Array;
  /** Number of each example in its source, `[examples]`. */
  readonly index: Int32Array;
  /** Class numbers, or scores of a regression, `[examples]`; absent from a test set. */
  readonly labels?: Float32Array;
}

/**
 * Draws `count` examples without replacement, in their original order.
 *
 * Selection depends only on the seed and on each example's index: the same
 * seed selects the same examples everywhere, and a larger subset contains
 * every smaller one.
 */
export async function drawSubset(
  examples: readonly Example[],
  count: number,
  seed: number,
): Promise<readonly Example[]> {
  if (count >= examples.length) return examples;
  const { createHash } = await import("node:crypto");
  const lots = examples.map(({ index }) =>
    createHash("sha256").update(`${seed}:${index}`).digest("hex")
  );
  const last = lots.toSorted()[count - 1]!;
  return examples.filter((_, i) => lots[i]! <= last);
}

/**
 * Draws a share of the examples as a holdout, rounded up: of each stratum
 * about the same share, and examples with equal texts together. One text of each
 * is left out of the draw, so that all classes can be learnt.
 *
 * The draw depends on the seed and the texts: in another order, the same ones
 * are drawn.
 *
 * @param share Fraction of the examples, between 0 and 1
 * @param stratumOf By label: examples of one stratum have about the same share
 * @returns None if there are too few different texts.
 */
export async function drawHoldout(
  examples: readonly Example[],
  share: number,
  seed: number,
  stratumOf: (label: number) => number,
): Promise<ReadonlySet<Example>> {
  const { createHash } = await import("node:crypto");
  const groups = [...Map.groupBy(examples, textsOf)].map(([texts, group]) => ({
    group,
    stratum: stratumOf(group[0]!.label!),
    lot: createHash("sha256").update(`${seed}:${texts}`).digest("hex"),
  })).sort((a, b) => a.stratum - b.stratum || (a.lot < b.lot ? -1 : 1));
  const held = new Set<Example>();
  let seen = 0;
  // The shares of the strata are rounded so that their sum is that of all.
  for (const [, texts] of Map.groupBy(groups, ({ stratum }) => stratum)) {
    seen += texts.reduce((sum, { group }) => sum + group.length, 0);
    for (const { group } of texts.slice(1)) {
      const lacking = Math.ceil(seen * share - 1e-9) - held.size;
      if (group.length <= 2 * lacking) group.forEach((it) => held.add(it));
    }
  }
  return held;
}

/** The texts of an example, as a key. */
function textsOf({ text, pair }: Example): string {
  return JSON.stringify([text, pair]);
}

/**
 * Describes examples in a line: how many there are, their classes with counts,
 * and how many lack a text: `90 examples; 2 classes: "neg" 40, "pos" 50; 1 has
 * an empty text`.
 *
 * @param describe Describes the labels of some examples
 */
export function describeExamples(
  examples: readonly Example[],
  describe: (given: readonly number[]) => string,
): string {
  const count = examples.length;
  const given = examples.flatMap(({ label }) => label ?? []);
  const empty =
    examples.filter(({ text, pair }) =>
      text.trim() === "" || pair?.trim() === ""
    ).length;
  return [
    `${count} example${count === 1 ? "" : "s"}`,
    given.length === 0 ? "no labels" : describe(given),
    ...empty === 0
      ? []
      : [`${empty} ${empty === 1 ? "has" : "have"} an empty text`],
  ].join("; ");
}
