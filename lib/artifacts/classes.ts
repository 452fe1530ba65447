/** What a trained artifact, or a set of tokens, says of its classes. */
interface Classes {
  readonly task: string;
  /** In the order of their numbers; null if the task is a regression. */
  readonly labels: readonly string[] | null;
}

/**
 * Makes sure that the numbers of classes mean the same where a model was
 * trained and where it is used. Classes without names (`LABEL_0`), as imported
 * adapters have them, go by their number.
 *
 * @throws {TypeError} If the classes differ, or are in another order.
 */
export function checkClasses(trained: Classes, used: Classes): void {
  const [ours, theirs] = [trained.labels, used.labels];
  const fits = ours === null || theirs === null
    ? ours === theirs
    : ours.length === theirs.length &&
      (isNumbered(ours) || isNumbered(theirs) ||
        ours.every((label, i) => label === theirs[i]));
  if (fits) return;
  throw new TypeError(
    `The model was trained for ${inWords(trained)}, but the tokens are of ${
      inWords(used)
    }: connect tokens with the same classes in the same order`,
  );
}

function isNumbered(labels: readonly string[]): boolean {
  return labels.every((label, i) => label === `LABEL_${i}`);
}

function inWords({ task, labels }: Classes): string {
  return labels === null
    ? `the regression "${task}"`
    : `"${task}" with the classes ${labels.join(", ")}`;
}

/** True if no name stands for two classes. */
export function areDistinct(labels: readonly string[]): boolean {
  return new Set(labels).size === labels.length;
}

/** Names that transformers gives to classes without names; null for one output, a regression. */
export function numberedLabels(outputs: number): string[] | null {
  return outputs === 1
    ? null
    : Array.from({ length: outputs }, (_, i) => `LABEL_${i}`);
}
