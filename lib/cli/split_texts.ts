import { UsageError } from "./exit.ts";

/** A text, or a pair of them. */
export interface TextInput {
  readonly text: string;
  readonly pair?: string;
}

/**
 * Texts as they are, or pairs, split where the separator first stands.
 *
 * @param separator `\t` is a tab.
 * @throws {UsageError} If a text does not hold it.
 */
export function splitTexts(
  texts: readonly string[],
  separator: string | undefined,
): TextInput[] {
  if (separator === undefined) return texts.map((text) => ({ text }));
  const mark = separator.replaceAll("\\t", "\t");
  return texts.map((text) => {
    const at = text.indexOf(mark);
    if (at < 0) {
      throw new UsageError(
        `"${text}" is no pair: it does not hold ${JSON.stringify(mark)}`,
      );
    }
    return { text: text.slice(0, at), pair: text.slice(at + mark.length) };
  });
}
