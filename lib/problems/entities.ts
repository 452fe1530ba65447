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
      const isFirst = i === start;
      const ends = scheme === "BIOES" && i === end - 1;
      tags[i] = scheme === "plain"
        ? type
        : (isFirst ? ends ? "S" : "B" : ends ? "E" : "I") + tail;
    }
  }
  return tags;
}

/** Precision, recall and F1 of entities, 0 where nothing is found or there is nothing to find. */
export interface EntityScore {
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
  /** Entities of the labels. */
  readonly support: number;
}

/** Scores of all entities, and of those of each type. */
export interface EntityScores extends EntityScore {
  readonly types: ReadonlyMap<string, EntityScore>;
}

/**
 * Scores predicted entities, as seqeval does: one counts if its words and its
 * type are those of the labels.
 *
 * @param labelled Entities of each sentence
 * @returns Scores of any draw of sentences, by their numbers; those drawn twice count twice
 */
export function entityScorer(
  labelled: readonly (readonly Entity[])[],
  predicted: readonly (readonly Entity[])[],
): (sentences?: ArrayLike<number>) => EntityScores {
  const types = [
    ...new Set([...labelled, ...predicted].flat().map(({ type }) => type)),
  ].sort();
  const numberOf = new Map(types.map((type, i) => [type, i]));
  const width = 3 * types.length;
  /** Of each sentence, for each type: entities that are right, predicted, labelled. */
  const counts = new Int32Array(width * labelled.length);
  const keyOf = ({ type, start, end }: Entity) => `${start} ${end} ${type}`;
  labelled.forEach((entities, sentence) => {
    const known = new Set(entities.map(keyOf));
    const count = ({ type }: Entity, what: number) =>
      counts[width * sentence + 3 * numberOf.get(type)! + what]!++;
    for (const entity of entities) count(entity, 2);
    for (const entity of predicted[sentence]!) {
      count(entity, 1);
      if (known.has(keyOf(entity))) count(entity, 0);
    }
  });
  return (sentences = [...labelled.keys()]) => {
    const sums = new Float64Array(width);
    for (let drawn = 0; drawn < sentences.length; drawn++) {
      const start = width * sentences[drawn]!;
      for (let i = 0; i < width; i++) sums[i]! += counts[start + i]!;
    }
    const ofType = types.map((_, i) => sums.subarray(3 * i, 3 * i + 3));
    const total = (what: number) =>
      ofType.reduce((sum, counts) => sum + counts[what]!, 0);
    return {
      ...scoreOf([total(0), total(1), total(2)]),
      types: new Map(types.map((type, i) => [type, scoreOf(ofType[i]!)])),
    };
  };
}

function scoreOf(
  [right, predicted, labelled]: ArrayLike<number> & Iterable<number>,
): EntityScore {
  const precision = predicted === 0 ? 0 : right! / predicted!;
  const recall = labelled === 0 ? 0 : right! / labelled!;
  return {
    precision,
    recall,
    f1: right === 0 ? 0 : 2 * precision * recall / (precision + recall),
    support: labelled!,
  };
}
