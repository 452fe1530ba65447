import * as z from "zod";
import type { AlignedText } from "./aligned_text.ts";
import { type Kinds, ofKind, withFields } from "./normalizer.ts";
import { matchesOf, type TextPattern, textPattern } from "./text_pattern.ts";

/** Parts of a text, each of which a model encodes separately. */
interface Words {
  readonly texts: readonly AlignedText[];
  /** Whether the first part is at the start of the input. */
  readonly atStart: boolean;
}

/** Cuts normalized text into words. */
export type PreTokenizer = (words: Words) => Words;

/**
 * Punctuation added since Unicode 7, which the Rust library treats as letters.
 */
const NEW_PUNCTUATION = String
  .raw`\u061d\u09fd\u0a76\u0c77\u0c84\u1b4e\u1b4f\u1b7d-\u1b7f\u2e43-\u2e4f\u2e52-\u2e5d\u{10d6e}\u{10ead}\u{10f55}-\u{10f59}\u{10f86}-\u{10f89}\u{113d4}\u{113d5}\u{113d7}\u{113d8}\u{1144b}-\u{1144f}\u{1145a}\u{1145b}\u{1145d}\u{11660}-\u{1166c}\u{116b9}\u{1183b}\u{11944}-\u{11946}\u{119e2}\u{11a3f}-\u{11a46}\u{11a9a}-\u{11a9c}\u{11a9e}-\u{11aa2}\u{11b00}-\u{11b09}\u{11be1}\u{11c41}-\u{11c45}\u{11c70}\u{11c71}\u{11ef7}\u{11ef8}\u{11f43}-\u{11f4f}\u{11fff}\u{12ff1}\u{12ff2}\u{16d6d}-\u{16d6f}\u{16e97}-\u{16e9a}\u{16fe2}\u{1e5ff}\u{1e95e}\u{1e95f}`;
const PUNCTUATION = new RegExp(
  `[[\\p{P}!-\\/:-@\\[-\`\\{-~\\u166d\\u{111c9}]--[${NEW_PUNCTUATION}]]`,
  "gv",
);
const WHITE_SPACE = /\p{White_Space}/gu;
/** Decimal and other digits, including the newest, which V8 does not know. */
const DIGIT = /[\p{N}\u{11de0}-\u{11de9}\u{16ff4}-\u{16ff6}]/gu;
/** GPT-2's words: contractions, letters, digits, others, white space. */
const GPT2 =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
/**
 * Runs of letters, digits and underscores, and of anything but them and white
 * space.
 */
const WORD =
  /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/gu;

const Behavior = z.enum([
  "Removed",
  "Isolated",
  "MergedWithPrevious",
  "MergedWithNext",
  "Contiguous",
]);
type Behavior = z.infer<typeof Behavior>;

const atWhiteSpace: PreTokenizer = (words) =>
  splitAt(words, matchesOf(WHITE_SPACE), "Removed");

/** Pre-tokenizers by the `type` of their settings. */
const KINDS: Kinds<PreTokenizer> = {
  Sequence: withFields(
    { pretokenizers: z.array(z.unknown()) },
    ({ pretokenizers }) => {
      const all = pretokenizers.map(preTokenizer);
      return (words) => all.reduce((words, split) => split(words), words);
    },
  ),
  BertPreTokenizer: () => (words) =>
    splitAt(atWhiteSpace(words), matchesOf(PUNCTUATION), "Isolated"),
  Whitespace: () => (words) => splitAt(words, matchesOf(WORD), "Removed", true),
  WhitespaceSplit: () => atWhiteSpace,
  Punctuation: withFields(
    { behavior: Behavior.default("Isolated") },
    ({ behavior }) => (words) =>
      splitAt(words, matchesOf(PUNCTUATION), behavior),
  ),
  Digits: withFields(
    { individual_digits: z.boolean() },
    ({ individual_digits }) => {
      const behavior = individual_digits ? "Isolated" : "Contiguous";
      return (words) => splitAt(words, matchesOf(DIGIT), behavior);
    },
  ),
  Split: withFields({
    pattern: z.unknown(),
    behavior: Behavior,
    invert: z.boolean().default(false),
  }, ({ pattern, behavior, invert }) => {
    const find = textPattern(pattern);
    return (words) => splitAt(words, find, behavior, invert);
  }),
  Metaspace: withFields({
    replacement: z.string().refine((it) => [...it].length === 1, {
      error: "expected one character",
    }),
    prepend_scheme: z.enum(["always", "first", "never"]).default("always"),
    add_prefix_space: z.boolean().optional(),
    split: z.boolean().nullish(),
  }, ({ replacement, prepend_scheme, add_prefix_space, split }) => {
    const prepended = add_prefix_space === false ? "never" : prepend_scheme;
    const find = textPattern({ String: replacement });
    return ({ texts, atStart }) => {
      const words = {
        atStart,
        texts: texts.map((text, i) => {
          const spaces = text.text.matchAll(/ /g);
          const word = text.edit(
            Array.from(spaces, ({ index }) => [index, index + 1, replacement]),
          );
          const prepends = prepended === "always" ||
            prepended === "first" && i === 0 && atStart;
          return prepends && !word.text.startsWith(replacement)
            ? word.edit([[0, 0, replacement]])
            : word;
        }),
      };
      return split === false ? words : splitAt(words, find, "MergedWithNext");
    };
  }),
  ByteLevel: withFields({
    add_prefix_space: z.boolean(),
    use_regex: z.boolean().default(true),
  }, ({ add_prefix_space, use_regex }) => ({ texts, atStart }) => {
    const prefixed = add_prefix_space
      ? texts.map((text) =>
        text.text.startsWith(" ") ? text : text.edit([[0, 0, " "]])
      )
      : texts;
    const words = { texts: prefixed, atStart };
    const { texts: parts } = use_regex
      ? splitAt(words, matchesOf(GPT2), "Isolated")
      : words;
    return { atStart, texts: parts.map((it) => it.map(byteLetters)) };
  }),
};

/**
 * The pre-tokenizer of a `tokenizer.json`.
 *
 * @param settings `pre_tokenizer` there; null leaves texts whole.
 * @throws {z.ZodError | SyntaxError | RangeError} If it is invalid, or of an
 * unsupported kind.
 */
export function preTokenizer(settings: unknown): PreTokenizer {
  return ofKind(KINDS, "Pre-tokenizer", settings) ?? ((words) => words);
}

/**
 * Splits texts at delimiters and drops empty parts.
 *
 * @param behavior What becomes of the delimiters (`SplitDelimiterBehavior` of https://github.com/huggingface/tokenizers).
 * @param inverted Whether the delimiters are the parts between the matches.
 */
function splitAt(
  { texts, atStart }: Words,
  find: TextPattern,
  behavior: Behavior,
  inverted = false,
): Words {
  const parts: AlignedText[] = [];
  let starts = atStart;
  for (const [i, text] of texts.entries()) {
    const cuts: Span[] = [];
    const { length } = text.text;
    let last = 0;
    const cutAt = (end: number, delimiter: boolean) => {
      cuts.push({ start: last, end, delimiter });
      last = end;
    };
    for (const [start, end] of find(text.text)) {
      if (last < start) cutAt(start, inverted);
      cutAt(end, !inverted);
    }
    if (last < length) cutAt(length, inverted);
    const spans = merged(cuts, behavior);
    const first = spans[0];
    if (i === 0 && first !== undefined && first.start > 0) starts = false;
    for (const { start, end } of spans) {
      if (start < end) parts.push(text.slice(start, end));
    }
  }
  return { texts: parts, atStart: starts };
}

interface Span {
  readonly start: number;
  readonly end: number;
  readonly delimiter: boolean;
}

function merged(cuts: readonly Span[], behavior: Behavior): readonly Span[] {
  if (behavior === "Isolated") return cuts;
  if (behavior === "Removed") return cuts.filter((it) => !it.delimiter);
  const spans: Span[] = [];
  for (const cut of cuts) {
    const last = spans.at(-1);
    const joins = last !== undefined && {
      Contiguous: cut.delimiter === last.delimiter,
      MergedWithPrevious: cut.delimiter && !last.delimiter,
      MergedWithNext: !cut.delimiter && last.delimiter,
    }[behavior];
    if (joins) spans[spans.length - 1] = { ...cut, start: last.start };
    else spans.push(cut);
  }
  return spans;
}

/**
 * Letters for the 256 bytes in GPT-2's vocabulary; a printable byte is its own
 * letter.
 */
const BYTE_LETTERS: readonly string[] = (() => {
  const letters: string[] = [];
  let hidden = 256;
  for (let byte = 0; byte < 256; byte++) {
    const isPrintable = byte >= 0x21 && byte <= 0x7e ||
      byte >= 0xa1 && byte <= 0xac || byte >= 0xae;
    letters.push(String.fromCharCode(isPrintable ? byte : hidden));
    if (!isPrintable) hidden++;
  }
  return letters;
})();

const encoder = new TextEncoder();

function byteLetters(text: string): string {
  let letters = "";
  for (const byte of encoder.encode(text)) letters += BYTE_LETTERS[byte];
  return letters;
}
