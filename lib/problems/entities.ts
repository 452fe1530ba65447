/** Tags of words that a scheme forbids or demands, and how many entities are found, as seqeval counts. */
import {
  type Entity,
  goesOn,
  OUTSIDE,
  partsOf,
  type Scheme,
} from "../serve/entities.ts";

/** Positions of the tags that their scheme forbids after the one before; that of the end, where an entity lacks its last tag. */
export function forbiddenTags(
  tags: readonly string[],
  scheme: Scheme,
): number[] {
  if (scheme === "plain" || scheme === "IOB1") return [];
  const parts = [...tags, OUTSIDE].map((tag) => partsOf(tag, scheme));
  return parts.flatMap((own, i) => {
    const before = parts[i - 1] ?? partsOf(OUTSIDE, scheme);
    const isForbidden = !goesOn(before, own) &&
      ("IE".includes(own[0]) || scheme === "BIOES" && "BI".includes(before[0]));
    return isForbidden ? [i] : [];
  });
}

/** The tags of a sentence with these entities, in BIO unless the scheme is BIOES or plain. */
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
  return labelled.flatMap((own, sentence) => {
    const known = new Set(own.map(keyOf));
    const found = predicted[sentence]!;
    const right = found.filter((it) => known.has(keyOf(it)));
    return [right.length, found.length, own.length];
  });
}

/** Micro averages of entities by {@linkcode entityCounts}, 0 where nothing is found or there is nothing to find. */
export function entityScore([right, predicted, labelled]: readonly number[]) {
  const precision = predicted === 0 ? 0 : right! / predicted!;
  const recall = labelled === 0 ? 0 : right! / labelled!;
  return {
    precision,
    recall,
    f1: right === 0 ? 0 : 2 * precision * recall / (precision + recall),
  };
}
