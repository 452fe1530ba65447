/**
 * The words of a text, the entities that tags of them mark, as seqeval finds
 * and counts them, and the tags that a scheme forbids. It imports nothing,
 * since users of lib/serve have it in their bundle.
 */

/** UTF-16 units of a text from `start` up to, and without, `end`. */
type Span = readonly [start: number, end: number, ...others: unknown[]];

/**
 * Characters, neither letters nor digits, that are part of a word before,
 * between or behind its letters.
 */
export interface WordForm {
  readonly before: string;
  readonly between: string;
  readonly behind: string;
}

/** Words of letters and digits alone. */
const PLAIN: WordForm = { before: "", between: "", behind: "" };

/**
 * The words of a text as it is written: letters and digits with what belongs to
 * them, and runs of the same other character.
 */
export function wordsIn(
  text: string,
  { before, between, behind }: WordForm = PLAIN,
): [start: number, end: number][] {
  const letters = String.raw`[\p{L}\p{M}\p{N}]+`;
  const set = (characters: string) =>
    `[${
      Array.from(characters, (it) => `\\u{${it.codePointAt(0)!.toString(16)}}`)
        .join("")
    }]`;
  // Bounded, so that a long run of one character takes linear time.
  const word = `${set(before)}{0,8}${letters}(?:${
    set(between)
  }{1,8}${letters})*${set(behind)}{0,8}`;
  const other = String.raw`([^\p{L}\p{M}\p{N}\s])\1*`;
  return Array.from(
    text.matchAll(RegExp(`${word}|${other}`, "gu")),
    ({ index, 0: { length } }) => [index, index + length],
  );
}

/**
 * The words of a text that are read, each with those behind it that adjoin and
 * have no token of their own: 's is one of byte-level BPE.
 *
 * @param read Numbers of the words that have tokens, ascending
 */
export function readWords(
  words: readonly Span[],
  read: readonly number[],
): Span[] {
  return read.map((it, k) => {
    const [start] = words[it]!;
    let [, end] = words[it]!;
    for (const other of words.slice(it + 1, read[k + 1])) {
      if (other[0] === end) [, end] = other;
    }
    return [start, end];
  });
}

/**
 * How tags mark entities: `BIO` begins each with `B-`; `IOB1` only where one of
 * the same type precedes; `BIOES` also ends it with `E-`, and has `S-` for
 * single words; in `plain` tags, neighbours with the same tag are one entity.
 */
export type Scheme = "BIO" | "IOB1" | "BIOES" | "plain";

/** An entity: words from `start` up to, and without, `end`. */
export interface Entity {
  readonly type: string;
  readonly start: number;
  readonly end: number;
}

/** Tag of a word outside of all entities. */
export const OUTSIDE = "O";

/**
 * Prefix and type of a tag. Prefixes of BILOU become those of BIOES; a tag
 * without a type has the type `_`, as in seqeval.
 */
export function partsOf(
  tag: string,
  scheme: Scheme,
): [prefix: string, type: string] {
  if (tag === OUTSIDE) return [OUTSIDE, "_"];
  if (scheme === "plain") return ["I", tag];
  const prefix = tag[0]!.replace("L", "E").replace("U", "S");
  return [prefix, tag.slice(2) || "_"];
}

/** A tag of a scheme: `B`, `I-person`. */
const TAG = /^[BIESLU](-.+)?$/;

/**
 * The strictest scheme that could have written the tags of some sentences;
 * BILOU counts as BIOES.
 */
export function schemeOf(
  sentences: readonly (readonly string[])[],
): Scheme {
  const prefixes = new Set<string>();
  /** Whether an entity begins with B- after one of another type, or none. */
  let beginsOutside = false;
  /** Whether an entity begins with I-. */
  let isInsideFirst = false;
  for (const tags of sentences) {
    let before = OUTSIDE;
    for (const tag of tags) {
      if (tag !== OUTSIDE && !TAG.test(tag)) return "plain";
      const [prefix, type] = partsOf(tag, "BIO");
      const [prefixBefore, typeBefore] = partsOf(before, "BIO");
      const isFirst = prefixBefore === OUTSIDE || type !== typeBefore;
      prefixes.add(prefix);
      if (prefix === "B" && isFirst) beginsOutside = true;
      if (prefix === "I" && isFirst) isInsideFirst = true;
      before = tag;
    }
  }
  if ([..."ESLU"].some((it) => prefixes.has(it))) return "BIOES";
  return isInsideFirst && !beginsOutside ? "IOB1" : "BIO";
}

/**
 * The scheme of a list of classes, in any order; `BIO` for `IOB1` as well,
 * which has the same classes.
 */
export function schemeOfClasses(classes: readonly string[]): Scheme {
  const tags = classes.filter((it) => it !== OUTSIDE);
  if (!tags.every((it) => TAG.test(it))) return "plain";
  return tags.some((it) => "ESLU".includes(it[0]!)) ? "BIOES" : "BIO";
}

/** Whether a tag continues the entity of the tag before it. */
export function goesOn(
  [before, typeBefore]: readonly [string, string],
  [prefix, type]: readonly [string, string],
): boolean {
  return "BI".includes(before) && "IE".includes(prefix) && type === typeBefore;
}

/**
 * The entities of a sentence, as seqeval finds them in its default mode, which
 * takes a tag that its scheme forbids as the start of an entity.
 *
 * @param isStrict True for seqeval's strict mode, in which an entity has all
 * tags that its scheme demands
 */
export function entitiesOf(
  tags: readonly string[],
  scheme: Scheme,
  isStrict = false,
): Entity[] {
  const entities: { type: string; start: number; end: number }[] = [];
  const parts = tags.map((tag) => partsOf(tag, scheme));
  for (const [i, [prefix, type]] of parts.entries()) {
    if (i > 0 && goesOn(parts[i - 1]!, parts[i]!)) {
      entities.at(-1)!.end = i + 1;
    } else if (prefix !== OUTSIDE) {
      entities.push({ type, start: i, end: i + 1 });
    }
  }
  if (!isStrict || scheme === "plain") return entities;
  return entities.filter(({ start, end }) =>
    "BS".includes(parts[start]![0]) &&
    (scheme !== "BIOES" || "ES".includes(parts[end - 1]![0]))
  );
}

/** An entity that is found in a text. */
export interface FoundEntity {
  /** Characters, as `slice()` counts them. */
  readonly start: number;
  readonly end: number;
  readonly text: string;
  readonly label: string;
  /** Mean probability of the tags of its words. */
  readonly probability: number;
}

/**
 * The entities of a text by the tags of its words.
 *
 * @param classes All tags, by which their scheme is told
 */
export function entitiesInText(
  text: string,
  words: readonly Span[],
  tags: readonly string[],
  probabilities: ArrayLike<number>,
  classes: readonly string[],
): FoundEntity[] {
  return entitiesOf(tags, schemeOfClasses(classes)).map((entity) => {
    const [start] = words[entity.start]!;
    const [, end] = words[entity.end - 1]!;
    let sum = 0;
    for (let i = entity.start; i < entity.end; i++) sum += probabilities[i]!;
    return {
      start,
      end,
      text: text.slice(start, end),
      label: entity.type,
      probability: sum / (entity.end - entity.start),
    };
  });
}

/**
 * Positions of the tags that their scheme forbids after the one before; that of
 * the end, where an entity lacks its last tag.
 */
export function forbiddenTags(
  tags: readonly string[],
  scheme: Scheme,
): number[] {
  if (scheme === "plain" || scheme === "IOB1") return [];
  const parts = [...tags, OUTSIDE].map((tag) => partsOf(tag, scheme));
  return parts.flatMap((tag, i) => {
    const before = parts[i - 1] ?? partsOf(OUTSIDE, scheme);
    const isForbidden = !goesOn(before, tag) &&
      ("IE".includes(tag[0]) || scheme === "BIOES" && "BI".includes(before[0]));
    return isForbidden ? [i] : [];
  });
}

/**
 * The tags of a sentence with these entities, in BIO unless the scheme is BIOES
 * or plain.
 */
export function tagsOf(
  entities: readonly Entity[],
  words: number,
  scheme: Scheme,
): string[] {
  const tags = Array<string>(words).fill(OUTSIDE);
  for (const { type, start, end } of entities) {
    const tail = type === "_" ? "" : `-${type}`;
    for (let i = start; i < end; i++) {
      const isLast = scheme === "BIOES" && i === end - 1;
      tags[i] = scheme === "plain"
        ? type
        : prefixOf(i === start, isLast) + tail;
    }
  }
  return tags;
}

/** The prefix of a word of an entity; the last word has its own in BIOES. */
function prefixOf(isFirst: boolean, isLast: boolean): "B" | "I" | "E" | "S" {
  if (isFirst) return isLast ? "S" : "B";
  return isLast ? "E" : "I";
}

/**
 * Entities of each sentence that are right, predicted and labelled, as seqeval
 * counts them: one is right if its words and its type are those of the labels.
 *
 * @returns `[sentences, 3]`
 */
export function entityCounts(
  labelled: readonly (readonly Entity[])[],
  predicted: readonly (readonly Entity[])[],
): number[] {
  const keyOf = ({ type, start, end }: Entity) => `${start} ${end} ${type}`;
  return labelled.flatMap((labels, sentence) => {
    const labelKeys = new Set(labels.map(keyOf));
    const predictions = predicted[sentence]!;
    const right = predictions.filter((it) => labelKeys.has(keyOf(it)));
    return [right.length, predictions.length, labels.length];
  });
}

/**
 * Micro averages of entities by {@linkcode entityCounts}, 0 where nothing is
 * found or there is nothing to find.
 */
export function entityScore([right, predicted, labelled]: readonly number[]) {
  const precision = predicted === 0 ? 0 : right! / predicted!;
  const recall = labelled === 0 ? 0 : right! / labelled!;
  return {
    precision,
    recall,
    f1: right === 0 ? 0 : 2 * precision * recall / (precision + recall),
  };
}
