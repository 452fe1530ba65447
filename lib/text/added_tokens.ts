import * as z from "zod";
import type { AlignedText } from "./aligned_text.ts";
import { stripEnd } from "./normalizer.ts";

/** An added token of `tokenizer.json`. */
export const AddedToken = z.looseObject({
  id: z.int().nonnegative(),
  content: z.string(),
  single_word: z.boolean().default(false),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  normalized: z.boolean().optional(),
  special: z.boolean().default(false),
});

export type AddedToken = z.infer<typeof AddedToken>;

/**
 * Checks that added tokens have the ids of the vocabulary, or else the next
 * ones after it.
 *
 * @throws {RangeError} Naming the token with another id.
 */
export function checkIds(
  tokens: readonly AddedToken[],
  idOf: (token: string) => number | undefined,
  size: number,
): void {
  let next = size;
  const seen = new Map<string, number>();
  for (const { content, id } of tokens) {
    const existing = idOf(content) ?? seen.get(content);
    const expected = existing ?? next;
    if (existing === undefined) next++;
    seen.set(content, expected);
    if (id !== expected) {
      throw new RangeError(
        `Added token ${
          JSON.stringify(content)
        } has id ${id}, but the vocabulary gives it ${expected}`,
      );
    }
  }
}

const WORD = String.raw`[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]`;
const WORD_AT_START = new RegExp(`^${WORD}`, "u");
const WORD_AT_END = new RegExp(`${WORD}$`, "u");

/** A part of a text that is an added token, or between two. */
export interface SplitPart {
  readonly part: AlignedText;
  /** Where it starts in the text. */
  readonly start: number;
  /** Id of an added token. */
  readonly id?: number;
}

/**
 * Makes a function that cuts added tokens out of a text: the leftmost first,
 * and the longest of those.
 */
export function tokenSplitter(
  tokens: readonly AddedToken[],
): (text: AlignedText) => SplitPart[] {
  const byContent = new Map(tokens.map((token) => [token.content, token]));
  byContent.delete("");
  const contents = [...byContent.keys()].sort((a, b) => b.length - a.length);
  // Without tokens, it matches nowhere.
  const all = contents.map((it) => RegExp.escape(it)).join("|") || "(?!)";
  const pattern = new RegExp(all, "gu");
  return (whole: AlignedText) => {
    const { text } = whole;
    const parts: SplitPart[] = [];
    let last = 0;
    for (const match of text.matchAll(pattern)) {
      const token = byContent.get(match[0])!;
      let start = match.index;
      let end = start + match[0].length;
      if (
        token.single_word &&
        (WORD_AT_END.test(text.slice(Math.max(0, start - 2), start)) ||
          WORD_AT_START.test(text.slice(end, end + 2)))
      ) continue;
      if (token.lstrip) {
        start = Math.max(last, stripEnd(text.slice(0, start)).length);
      }
      if (token.rstrip) {
        end += /^\p{White_Space}*/u.exec(text.slice(end))![0].length;
      }
      if (last < start) {
        parts.push({ part: whole.slice(last, start), start: last });
      }
      parts.push({ part: whole.slice(start, end), start, id: token.id });
      last = end;
    }
    if (last < text.length) {
      parts.push({ part: whole.slice(last), start: last });
    }
    return parts;
  };
}
