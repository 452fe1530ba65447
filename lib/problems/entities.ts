/** Entities that tags of words mark, in the schemes of seqeval, and how many of them are found. */

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

/** A tag in its parts: the type of one without any is `_`, as in seqeval. */
function partsOf(tag: string, scheme: Scheme): [prefix: string, type: string] {
  if (tag === OUTSIDE) return [OUTSIDE, "_"];
  return scheme === "plain" ? ["I", tag] : [tag[0]!, tag.slice(2) || "_"];
}

/** Tags of BILOU by the names that BIOES has for them. */
export function normalTag(tag: string): string {
  return tag.replace(/^[LU](?=-|$)/, (it) => it === "L" ? "E" : "S");
}

/**
 * The scheme of some sentences: of those that could have written them, the
 * strictest.
 *
 * @param sentences Their tags, each a {@linkcode normalTag}
 */
export function schemeOf(
  sentences: readonly (readonly string[])[],
): Scheme {
  const prefixes = new Set<string>();
  let [beginsOutside, isInsideFirst] = [false, false];
  for (const tags of sentences) {
    let before = OUTSIDE;
    for (const tag of tags) {
      if (tag !== OUTSIDE && !/^[BIES](-.+)?$/.test(tag)) return "plain";
      const [prefix, type] = partsOf(tag, "BIO");
      const [prefixBefore, typeBefore] = partsOf(before, "BIO");
      const isFirst = prefixBefore === OUTSIDE || type !== typeBefore;
      prefixes.add(prefix);
      beginsOutside ||= prefix === "B" && isFirst;
      isInsideFirst ||= prefix === "I" && isFirst;
      before = tag;
    }
  }
  if (prefixes.has("E") || prefixes.has("S")) return "BIOES";
  return isInsideFirst && !beginsOutside ? "IOB1" : "BIO";
}

/** Whether a tag goes on with the entity of the tag before it. */
function goesOn(
  [before, typeBefore]: readonly [string, string],
  [prefix, type]: readonly [string, string],
): boolean {
  return "BI".includes(before) && "IE".includes(prefix) && type === typeBefore;
}

/** Positions of the tags that their scheme forbids after the one before; that of the end, where an entity lacks its last tag. */
export function forbiddenTags(
  tags: readonly string[],
  scheme: Scheme,
): number[] {
  if (scheme === "plain" || scheme === "IOB1") return [];
  let before = partsOf(OUTSIDE, scheme);
  return [...tags, OUTSIDE].flatMap((tag, i) => {
    const parts = partsOf(tag, scheme);
    const follows = goesOn(before, parts);
    const isForbidden = !follows &&
      ("IE".includes(parts[0]) ||
        scheme === "BIOES" && "BI".includes(before[0]));
    before = parts;
    return isForbidden ? [i] : [];
  });
}

/**
 * The entities of a sentence, as seqeval finds them in its default mode, which
 * takes a tag that its scheme forbids as the start of an entity.
 *
 * @param isStrict True for seqeval's strict mode, in which an entity has all tags that its scheme demands
 */
export function entitiesOf(
  tags: readonly string[],
  scheme: Scheme,
  isStrict = false,
): Entity[] {
  const found: { type: string; start: number; end: number }[] = [];
  let before = partsOf(OUTSIDE, scheme);
  tags.forEach((tag, i) => {
    const parts = partsOf(tag, scheme);
    if (goesOn(before, parts)) found.at(-1)!.end = i + 1;
    else if (parts[0] !== OUTSIDE) {
      found.push({ type: parts[1], start: i, end: i + 1 });
    }
    before = parts;
  });
  if (!isStrict || scheme === "plain") return found;
  return found.filter(({ start, end }) =>
    "BS".includes(tags[start]![0]!) &&
    (scheme !== "BIOES" || "ES".includes(tags[end - 1]![0]!))
  );
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
