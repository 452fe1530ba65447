import * as z from "zod";

/** A message of a conversation; templates may take more fields. */
const Message = z.looseObject({ role: z.string(), content: z.string() })
  .readonly();

export type Message = z.output<typeof Message>;

/** UTF-16 units of a text from `start` up to, and without, `end`. */
export type Span = readonly [start: number, end: number];

/**
 * Where a word of a text stands, in UTF-16 units, and its class number, if it
 * is known.
 */
const LabelledWord = z.tuple([z.number(), z.number(), z.number().optional()])
  .readonly();

export type LabelledWord = z.output<typeof LabelledWord>;

/** An example of a task: a text or a pair of texts. */
export const Example = z.strictObject({
  /** Number of the example in its source; predictions refer to it. */
  index: z.int().nonnegative(),
  text: z.string(),
  /** Second text of a pair. */
  pair: z.string().exactOptional(),
  /** Class number, or score of a regression; absent if it is not published. */
  label: z.number().exactOptional(),
  /**
   * Its row of targets instead, where it has more than one: 0 or 1 for each
   * class.
   */
  targets: z.array(z.number()).min(1).readonly().exactOptional(),
  /**
   * Further texts that are sequences of their own: what is near the text, then
   * what is not.
   */
  others: z.array(z.string()).min(1).readonly().exactOptional(),
  /** Its words, where each has a label of its own instead. */
  words: z.array(LabelledWord).readonly().exactOptional(),
  /** Texts that may follow it, where these are to be written. */
  completions: z.array(z.string()).min(1).readonly().exactOptional(),
  /** The conversation that they continue, whose last message is the text. */
  messages: z.array(Message).min(1).readonly().exactOptional(),
}).readonly();

export type Example = z.output<typeof Example>;

/**
 * Examples as sequences of token ids, one after the other, without padding.
 *
 * What is scored of an example is its unit: the example as a whole, or each of
 * its words, or each token to write. A unit has a row of targets.
 */
export interface EncodedExamples {
  /** Token ids with special tokens, `[tokens]`. */
  readonly ids: Int32Array;
  /**
   * Token types, `[tokens]`: 1 for the second text of a pair if the model
   * distinguishes the two.
   */
  readonly types: Uint8Array;
  /** Sequence s is `ids[offsets[s]..offsets[s + 1])`, `[sequences + 1]`. */
  readonly offsets: Int32Array;
  /**
   * Sequences of each example, 1 by default; those of one example follow each
   * other.
   */
  readonly sequencesPerExample?: number;
  /** Number of each example in its source, `[examples]`. */
  readonly index: Int32Array;
  /**
   * Targets, `[units, width]`, flat: class numbers, scores, marks of classes,
   * or ids of tokens to write; absent from a test set.
   */
  readonly labels?: Float32Array;
  /** Numbers in the row of targets of a unit, 1 by default. */
  readonly width?: number;
  /**
   * The words that are read of examples that have several, or the tokens to
   * write; each part of a long text, and each text that may follow a prompt, is
   * an example with the text's index.
   */
  readonly words?: WordTokens;
}

/** Examples of which it is known what they are. */
export interface LabelledExamples extends EncodedExamples {
  readonly labels: Float32Array;
}

/**
 * The different sequences of examples, each as an example of its own, and which
 * of them each sequence is, those of all sets one after the other: a text that
 * many examples have, such as a query with many answers, is computed once.
 */
export function differentSequences(
  ...sets: readonly EncodedExamples[]
): { readonly sequences: EncodedExamples; readonly numbers: Int32Array } {
  const numbers: number[] = [];
  const numberOf = new Map<string, number>();
  const ids: number[] = [];
  const types: number[] = [];
  const offsets = [0];
  for (const set of sets) {
    for (let s = 0; s < set.offsets.length - 1; s++) {
      const start = set.offsets[s];
      const end = set.offsets[s + 1];
      const sequenceIds = set.ids.subarray(start, end);
      const sequenceTypes = set.types.subarray(start, end);
      const key = `${sequenceIds};${sequenceTypes}`;
      let number = numberOf.get(key);
      if (number === undefined) {
        number = numberOf.size;
        numberOf.set(key, number);
        ids.push(...sequenceIds);
        types.push(...sequenceTypes);
        offsets.push(ids.length);
      }
      numbers.push(number);
    }
  }
  return {
    sequences: {
      ids: Int32Array.from(ids),
      types: Uint8Array.from(types),
      offsets: Int32Array.from(offsets),
      index: Int32Array.from(numberOf.values()),
    },
    numbers: Int32Array.from(numbers),
  };
}

/** Where the words of examples are read: all `[words]` but `offsets`. */
export interface WordTokens {
  /**
   * Words of example i are those from `offsets[i]` up to, and without,
   * `offsets[i + 1]`, `[examples + 1]`.
   */
  readonly offsets: Int32Array;
  /**
   * First token of each word in its example; of a token to write, the one
   * before it.
   */
  readonly tokens: Int32Array;
  /** Number of each word in its text. */
  readonly numbers: Int32Array;
}

/** Number of units of all examples. */
export function unitCount(
  { index, words }: Pick<EncodedExamples, "index" | "words">,
): number {
  return (words?.tokens ?? index).length;
}

/**
 * Where the units of an example are read: the number of each among all, and its
 * token, the only one for an example as a whole.
 */
export function unitsOf(
  { words }: { readonly words?: WordTokens | undefined },
  example: number,
): { readonly unit: number; readonly token: number }[] {
  if (words === undefined) return [{ unit: example, token: 0 }];
  const { offsets, tokens } = words;
  return Array.from(tokens.subarray(offsets[example], offsets[example + 1]))
    .map((token, i) => ({ unit: offsets[example]! + i, token }));
}

/**
 * Where the words of each text start among all, and where the last ones end,
 * `[texts + 1]`.
 */
export function wordStarts(
  { index, words }: Pick<EncodedExamples, "index" | "words">,
): Int32Array {
  const { offsets } = words!;
  return offsets.filter((_, i) => i === 0 || index[i] !== index[i - 1]);
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
 * about the same share, and examples with equal texts together. One text of
 * each is left out of the draw, so that all classes can be learnt.
 *
 * The draw depends on the seed and the texts: in another order, the same ones
 * are drawn.
 *
 * @param share Fraction of the examples, between 0 and 1
 * @param strataOf The strata of an example, each of which has about the same
 * share. If some have none or several, they are drawn by
 * {@linkcode iterativeHoldout}
 * @param groupOf What examples that are drawn together have in common, their
 * texts by default
 * @returns None if there are too few different texts.
 */
export async function drawHoldout(
  examples: readonly Example[],
  share: number,
  seed: number,
  strataOf: (example: Example) => readonly number[] = () => [0],
  groupOf: (example: Example) => string = textsOf,
): Promise<ReadonlySet<Example>> {
  const { createHash } = await import("node:crypto");
  const groups = [...Map.groupBy(examples, groupOf)].map(([texts, group]) => ({
    group,
    strata: group.map((it) => {
      const strata = strataOf(it);
      // Those without a label are alike, too.
      return strata.length === 0 ? [-1] : strata;
    }),
    lot: createHash("sha256").update(`${seed}:${texts}`).digest("hex"),
  })).sort((a, b) => a.lot < b.lot ? -1 : 1);
  const areSingle = groups.every(({ strata }) =>
    strata.every(({ length }) => length === 1)
  );
  if (!areSingle) return iterativeHoldout(groups, share);
  const held = new Set<Example>();
  let seen = 0;
  const byStratum = [
    ...Map.groupBy(groups, ({ strata }) => strata[0]![0]!),
  ].sort(([a], [b]) => a - b);
  // The shares of the strata are rounded so that their sum is that of all.
  for (const [, texts] of byStratum) {
    seen += texts.reduce((sum, { group }) => sum + group.length, 0);
    for (const { group } of texts.slice(1)) {
      const lacking = Math.ceil(seen * share - 1e-9) - held.size;
      if (group.length <= 2 * lacking) group.forEach((it) => held.add(it));
    }
  }
  return held;
}

/** Examples with equal texts, and the strata of each. */
interface EqualTexts {
  readonly group: readonly Example[];
  readonly strata: readonly (readonly number[])[];
}

/** What a part of the examples still lacks. */
interface LackingPart {
  examples: number;
  /** By stratum. */
  readonly ofStrata: Map<number, number>;
}

/**
 * Draws a holdout of examples of which each may be in several strata, by
 * iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011): again and
 * again, of the stratum with the fewest texts left, each text goes to the part
 * that lacks most of it. The first text of a stratum is kept for the training.
 *
 * @param groups In the order of their lots
 */
function iterativeHoldout(
  groups: readonly EqualTexts[],
  share: number,
): ReadonlySet<Example> {
  const total = groups.reduce((sum, { group }) => sum + group.length, 0);
  const drawn = Math.ceil(total * share - 1e-9);
  const left = new Map<number, Set<EqualTexts>>();
  const counts = new Map<number, number>();
  for (const texts of groups) {
    for (const stratum of texts.strata.flat()) {
      counts.set(stratum, (counts.get(stratum) ?? 0) + 1);
      left.getOrInsertComputed(stratum, () => new Set()).add(texts);
    }
  }
  const partWith = (examples: number): LackingPart => ({
    examples,
    ofStrata: new Map(
      [...counts].map(([it, count]) => [it, count * examples / total]),
    ),
  });
  const holdout = partWith(drawn);
  const training = partWith(total - drawn);
  const held = new Set<Example>();
  /** Strata of which an example is trained on. */
  const trainedStrata = new Set<number>();
  const give = (texts: EqualTexts, part: LackingPart) => {
    part.examples -= texts.group.length;
    for (const stratum of texts.strata.flat()) {
      part.ofStrata.set(stratum, part.ofStrata.get(stratum)! - 1);
      left.get(stratum)!.delete(texts);
      if (part === training) trainedStrata.add(stratum);
    }
    if (part === holdout) texts.group.forEach((it) => held.add(it));
  };
  while (left.size > 0) {
    const [rarest, texts] = [...left].reduce((a, b) =>
      b[1].size < a[1].size || b[1].size === a[1].size && b[0] < a[0] ? b : a
    );
    for (const equal of [...texts]) {
      const difference = holdout.ofStrata.get(rarest)! -
        training.ofStrata.get(rarest)!;
      const lacksMore = difference > 0 ||
        difference === 0 && holdout.examples > training.examples;
      const fits = equal.group.length <= 2 * holdout.examples;
      const isHeld = trainedStrata.has(rarest) && lacksMore && fits;
      give(equal, isHeld ? holdout : training);
    }
    left.delete(rarest);
  }
  return held;
}

/**
 * Whether an example has what a model learns of it: a label, targets, words
 * with labels, or further texts.
 */
export function isLabelled(
  { label, targets, words, completions, others }: Example,
): boolean {
  return [label, targets, words, completions, others]
    .some((it) => it !== undefined);
}

/** The targets of some examples, or of their words, one row after the other. */
export function labelsOf(examples: readonly Example[]): number[] {
  return examples.flatMap(({ label, targets, words = [[0, 0, label]] }) =>
    targets ?? words.flatMap(([, , label]) => label ?? [])
  );
}

/** The texts of an example, as a key. */
function textsOf({ text, pair, others = [], messages = [] }: Example): string {
  return JSON.stringify([text, pair, ...others, ...messages]);
}

/**
 * Describes examples in a line: how many there are, their classes with counts,
 * and how many lack a text: `90 examples; 2 classes: "neg" 40, "pos" 50; 1 with
 * an empty text`.
 *
 * @param describe Describes the labels of some examples
 */
export function describeExamples(
  examples: readonly Example[],
  describe: (labels: readonly number[]) => string,
): string {
  const count = examples.length;
  const labels = labelsOf(examples);
  const texts = examples.flatMap(({ completions = [] }) => completions).length;
  const empty =
    examples.filter(({ text, pair, others = [] }) =>
      [text, pair, ...others].some((it) => it?.trim() === "")
    ).length;
  return [
    `${count} example${count === 1 ? "" : "s"}`,
    texts > 0
      ? `${texts} texts to write`
      : labels.length === 0
      ? "no labels"
      : describe(labels),
    ...empty === 0 ? [] : [`${empty} with an empty text`],
  ].join("; ");
}
