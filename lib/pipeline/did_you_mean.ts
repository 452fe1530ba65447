import { closestString } from "@std/text/closest-string";
import { levenshteinDistance } from "@std/text/levenshtein-distance";

/**
 * The end of a message about an unknown word: `; did you mean "matrix"?`, or
 * empty if no name is close. Case does not count.
 *
 * @param list Introduces the names, which are listed if none is close: `the
 * tasks are`.
 */
export function didYouMean(
  word: string,
  names: Iterable<string>,
  list?: string,
): string {
  const words = [...names];
  if (words.length === 0) return "";
  const closest = closestString(word, words);
  const distance = levenshteinDistance(
    word.toLowerCase(),
    closest.toLowerCase(),
  );
  const { length } = word;
  // A swap of neighbours counts as two changes.
  if (distance <= (length < 4 ? 1 : Math.max(2, Math.floor(length / 3)))) {
    return `; did you mean "${closest}"?`;
  }
  return list === undefined
    ? ""
    : `; ${list} ${words.map((it) => `"${it}"`).join(", ")}`;
}
