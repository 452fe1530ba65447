import { SplitPreTokenizer } from "@huggingface/tokenizers";
import * as z from "zod";

/** Finds the parts of a text that match: `[start, end)` of each, in UTF-16 units. */
export type TextPattern = (
  text: string,
) => readonly (readonly [start: number, end: number])[];

const Setting = z.union([
  z.strictObject({ String: z.string() }),
  z.strictObject({ Regex: z.string() }),
]);

/**
 * Compiles a `pattern` of a `tokenizer.json`: a string, or a regular expression
 * of Oniguruma, which the library rewrites for JavaScript.
 *
 * @throws {z.ZodError | SyntaxError} If it is not a pattern.
 */
export function textPattern(settings: unknown): TextPattern {
  const pattern = Setting.parse(settings);
  const { pattern: regex } = new SplitPreTokenizer({
    type: "Split",
    pattern,
    behavior: "Isolated",
  });
  return matchesOf(regex!);
}

/** Finds what a global regular expression matches. */
export function matchesOf(regex: RegExp): TextPattern {
  return (text) =>
    Array.from(
      text.matchAll(regex),
      (match) => [match.index, match.index + match[0].length],
    );
}
