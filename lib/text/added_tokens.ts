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
 * Checks that added tokens have the ids of the vocabulary, or else the next ones
 * after it.
 *
 * @throws {RangeError} Naming the token with another id.
 */
export function addedTokens(
  tokens: readonly AddedToken[],
  idOf: (token: string) => number | undefined,
  size: number,
): readonly AddedToken[] {
  let next = size;
  const seen = new Map<string, number>();
  for (const { content, id } of tokens) {
    const expected = idOf(content) ?? seen.get(content) ?? next++;
    seen.set(content, expected);
    if (id !== expected) {
      throw new RangeError(
        `Added token ${
          JSON.stringify(content)
        } has id ${id}, but the vocabulary gives it ${expected}`,
      );
    }
  }
  return tokens.filter(({ content }) => content !== "");
}

/** A part of a text. */
interface Part {
  readonly part: AlignedText;
  /** Its start in the text that was split. */
  readonly start: number;
  /** Id of an added token; undefined for other text. */
  readonly id?: number;
}

const WORD = String.raw`[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]`;
const WORD_AT_START = new RegExp(`^${WORD}`, "u");
const WORD_AT_END = new RegExp(`${WORD}$`, "u");

/** Finds added tokens in texts: the leftmost first, and the longest of those. */
export class AddedTokens {
  readonly #tokens: ReadonlyMap<string, AddedToken>;
  readonly #pattern: RegExp | undefined;

  constructor(tokens: readonly AddedToken[]) {
    this.#tokens = new Map(tokens.map((token) => [token.content, token]));
    const contents = [...this.#tokens.keys()].filter((it) => it !== "")
      .sort((a, b) => b.length - a.length).map((it) => RegExp.escape(it));
    if (contents.length > 0) {
      this.#pattern = new RegExp(contents.join("|"), "gu");
    }
  }

  split(whole: AlignedText): Part[] {
    const { text } = whole;
    if (text === "") return [];
    if (this.#pattern === undefined) return [{ part: whole, start: 0 }];
    const parts: Part[] = [];
    let last = 0;
    for (const match of text.matchAll(this.#pattern)) {
      const token = this.#tokens.get(match[0])!;
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
  }
}
