/**
 * Texts whose words have tags: from lists of words and tags, or from texts with
 * spans.
 */
import type { Span } from "../data/example.ts";
import { className, describeValue, isEmpty, listIn } from "../data/labels.ts";
import type { Row } from "../data/columns.ts";
import { quote } from "../data/text_file.ts";
import {
  entitiesOf,
  type Entity,
  forbiddenTags,
  OUTSIDE,
  type Scheme,
  tagsOf,
  type WordForm,
  wordsIn,
} from "./entities.ts";
import { throwFaults } from "./problem.ts";

/** A text with its words. */
export interface TaggedText {
  /** Location of the text, and of each of its words. */
  readonly place: string;
  readonly wordPlace: (word: number) => string;
  readonly text: string;
  readonly words: readonly Span[];
  /** Of each word; undefined if they are not known. */
  readonly tags: readonly string[] | undefined;
}

/**
 * What is before the first letter or digit of a word, from there to the last,
 * and behind it.
 */
const PARTS = /^([^\p{L}\p{M}\p{N}]*)(.*?)([^\p{L}\p{M}\p{N}]*)$/su;

/**
 * The form of some words, by which a text is cut into such words: a character
 * belongs to a word of letters where more words have it so than have it
 * otherwise.
 */
export function formOf(words: Iterable<string>): WordForm {
  const counts = new Map<string, number>();
  const times = (part: string, it: string) => counts.get(part + it) ?? 0;
  const others = new Set<string>();
  for (const word of words) {
    const [, before, letters, behind] = PARTS.exec(word)!;
    const places = letters === ""
      ? { alone: word }
      : { before, between: letters, behind };
    for (const [part, characters] of Object.entries(places)) {
      for (const it of characters!.replaceAll(/[\p{L}\p{M}\p{N}\s]/gu, "")) {
        others.add(it);
        counts.set(part + it, times(part, it) + 1);
      }
    }
  }
  const those = (part: string, rivals: readonly string[]) =>
    [...others].filter((it) =>
      rivals.every((rival) => times(part, it) > times(rival, it))
    ).sort().join("");
  return {
    before: those("before", ["alone"]),
    between: those("between", ["before", "behind"]),
    behind: those("behind", ["alone"]),
  };
}

/**
 * Reads texts with tagged words from rows: words and their tags as two lists,
 * or a text and the spans of its entities, each `{ start, end, label }` in
 * characters as Python counts them.
 *
 * @param rows Rows whose values are the words or the text, then tags or spans,
 * unless they are not known.
 * @param scheme That of the tags that spans become
 * @param widened Gets the place of each span that ends inside a word, and is
 * taken to the end of the word.
 * @throws {SyntaxError} With the places of all faults.
 */
export function readTagged(
  rows: readonly Row[],
  isTagged: boolean,
  scheme: Scheme,
  widened: string[],
): TaggedText[] {
  const faults: string[] = [];
  const texts = rows.map(({ place, values: [value, labels], hasLines }) => {
    const fault = (message: string, at = place) =>
      void faults.push(`${at}: ${message}`);
    const wordPlace = (word: number) =>
      hasLines
        ? place.replace(/\d+$/, (line) => `${Number(line) + word}`)
        : `${place}, word ${word + 1}`;
    if (typeof value === "string") {
      const words = wordsIn(value);
      const entities = isTagged
        ? entitiesIn(value, words, labels, fault, () => widened.push(place))
        : undefined;
      const tags = entities && tagsOf(entities, words.length, scheme);
      return { place, wordPlace, text: value, words, tags };
    }
    const tokens = listIn(value);
    const tags = isTagged ? listIn(labels) : undefined;
    if (tokens === undefined) {
      fault(
        `Expected a list of words or a text, found ${describeValue(value)}`,
      );
    } else if (isTagged && tags?.length !== tokens.length) {
      fault(
        tags === undefined
          ? `Expected a list of tags, found ${describeValue(labels)}`
          : `Found ${tokens.length} words, but ${tags.length} tags`,
      );
    }
    const textsOf = (what: string, list: readonly unknown[] | undefined) =>
      list?.map((value, i) => {
        const name = what === "tag" ? className(value) : value;
        if (typeof name === "string" && !isEmpty(name)) return name;
        fault(
          `Expected a ${what}, found ${describeValue(value)}`,
          wordPlace(i),
        );
        return OUTSIDE;
      });
    const names = textsOf("word", tokens) ?? [];
    const words: Span[] = [];
    let start = 0;
    for (const { length } of names) {
      words.push([start, start + length]);
      // After a space.
      start += length + 1;
    }
    return {
      place,
      wordPlace,
      text: names.join(" "),
      words,
      tags: textsOf("tag", tags),
    };
  });
  throwFaults(faults);
  return texts;
}

/** The entities of a text as runs of its words. */
function entitiesIn(
  text: string,
  words: readonly Span[],
  spans: unknown,
  fault: (message: string) => void,
  onWidened: () => void,
): Entity[] {
  if (!Array.isArray(spans)) {
    fault(`Expected a list of spans, found ${describeValue(spans)}`);
    return [];
  }
  // Units of UTF-16 up to each character.
  const units = [0];
  for (const character of text) units.push(units.at(-1)! + character.length);
  const unitAt = (character: unknown): number =>
    typeof character === "number" || typeof character === "bigint"
      ? units[Number(character)] ?? NaN
      : NaN;
  const entities = spans.flatMap((span) => {
    const { start, end, label } = (span ?? {}) as Record<string, unknown>;
    const from = unitAt(start);
    const to = unitAt(end);
    const type = className(label);
    const first = words.findIndex(([, end]) => end > from);
    const last = words.findLastIndex(([start]) => start < to);
    if (type === undefined || !(from < to) || first < 0 || last < first) {
      fault(
        `Expected a span { "start", "end", "label" } of words within ${
          units.length - 1
        } characters, found ${quote(JSON.stringify(span) ?? "nothing")}`,
      );
      return [];
    }
    if (words[first]![0] < from || words[last]![1] > to) onWidened();
    const title = `${start} to ${end} ${quote(type)}`;
    return [{ type, start: first, end: last + 1, title }];
  }).sort((a, b) => a.start - b.start);
  entities.forEach(({ start, title }, i) => {
    const before = entities[i - 1];
    if (before !== undefined && start < before.end) {
      fault(`The spans ${before.title} and ${title} overlap`);
    }
  });
  return entities;
}

/**
 * Texts whose tags are allowed in their scheme, in BIO if that is IOB1.
 *
 * @param scheme That of the training set
 * @param onForbidden Called with what is wrong, if the scheme forbids tags and
 * they are to be repaired; otherwise they are refused
 * @throws {SyntaxError} With the places of all tags that the scheme forbids
 */
export function checkTags(
  texts: readonly TaggedText[],
  scheme: Scheme,
  onForbidden?: (what: string) => void,
): readonly TaggedText[] {
  const faults = texts.flatMap(({ tags = [], wordPlace }) =>
    forbiddenTags(tags, scheme).map((i) => {
      const before = tags[i - 1] && quote(tags[i - 1]!);
      const tag = tags[i] && quote(tags[i]!);
      const what = before === undefined
        ? `${tag} starts a sentence`
        : tag === undefined
        ? `${before} ends a sentence`
        : `${tag} follows ${before}`;
      return `${wordPlace(Math.min(i, tags.length - 1))}: ${what}`;
    })
  );
  if (faults.length === 0 && scheme !== "IOB1") return texts;
  const what = `${faults.length} tags are forbidden in ${scheme}`;
  if (faults.length > 0 && onForbidden === undefined) {
    const remedy = "correct them, or repair them by -S tags=repair";
    const setting = { name: "tags", value: "repair" };
    throwFaults([`${what}: ${remedy}`, ...faults], setting);
  }
  if (faults.length > 0) onForbidden!(`${what}, first ${faults[0]}`);
  return texts.map((text) => ({
    ...text,
    tags: text.tags &&
      tagsOf(entitiesOf(text.tags, scheme), text.tags.length, scheme),
  }));
}

/** Matches a tag as in BIO and its kin. */
const PREFIXED = /^[BIESLU]-/;

/** What is odd about plain tags of which some have a prefix as in BIO. */
export function mixedTags(texts: readonly TaggedText[]): string[] {
  const all = texts.flatMap(({ tags = [], wordPlace }) =>
    tags.map((tag, i) => ({ tag, shown: `${quote(tag)} (${wordPlace(i)})` }))
  ).filter(({ tag }) => tag !== OUTSIDE);
  const prefixed = all.find(({ tag }) => PREFIXED.test(tag));
  const plain = all.find(({ tag }) => !PREFIXED.test(tag));
  return prefixed && plain
    ? [
      `${prefixed.shown} is as in BIO, but ${plain.shown} is not, so all tags are taken as plain, B- and I- as part of a type: if it is a typing error, correct it`,
    ]
    : [];
}

/**
 * The classes of tags: `O`, then those of each type; of plain tags, all that
 * occur.
 */
export function tagClasses(
  texts: readonly TaggedText[],
  scheme: Scheme,
): string[] {
  const tags = [...new Set(texts.flatMap(({ tags = [] }) => tags))].sort();
  const others = tags.filter((it) => it !== OUTSIDE);
  if (scheme === "plain") {
    return tags.includes(OUTSIDE) ? [OUTSIDE, ...others] : others;
  }
  const prefixes = [...scheme === "BIOES" ? "BIES" : "BI"];
  const tails = [...new Set(others.map((it) => it.slice(1)))];
  return [
    OUTSIDE,
    ...tails.flatMap((tail) => prefixes.map((it) => it + tail)),
  ];
}
