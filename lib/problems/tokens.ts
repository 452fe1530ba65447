import type { LabelledWord } from "../data/example.ts";
import { repeatedRows } from "../data/faults.ts";
import { MAX_CLASSES } from "../data/labels.ts";
import type { Row } from "../data/table.ts";
import { quote, quoteAll } from "../data/text_file.ts";
import { classification } from "./classification.ts";
import {
  entitiesInText,
  entitiesOf,
  type Entity,
  entityCounts,
  entityScore,
  OUTSIDE,
  partsOf,
  readWords,
  type Scheme,
  schemeOf,
  wordsIn,
} from "./entities.ts";
import {
  type LabelColumn,
  type Outcomes,
  type Problem,
  type ProblemDetails,
  type ProblemKind,
  summedScorer,
  type Values,
} from "./problem.ts";
import {
  checkTags,
  formOf,
  mixedTags,
  readTagged,
  tagClasses,
  type TaggedText,
} from "./tagged_text.ts";

/**
 * Micro averages of entities by name, as seqeval computes them; `isStrict`
 * selects its strict mode.
 */
const ENTITY_METRICS = {
  entity_f1: { of: "f1", isStrict: false },
  entity_precision: { of: "precision", isStrict: false },
  entity_recall: { of: "recall", isStrict: false },
  entity_f1_strict: { of: "f1", isStrict: true },
} as const;

/** Metrics of words by those of a classification. */
const WORD_METRICS: Readonly<Record<string, string>> = {
  word_accuracy: "accuracy",
  word_f1_macro: "f1_macro",
};

/** Each word of a text has a class, and runs of words are entities. */
export const tokens: ProblemKind = {
  name: "tokens",
  metrics: { ...ENTITY_METRICS, ...WORD_METRICS },
  head: "tokens",
  autoClass: "TokenClassification",
  peftTask: "TOKEN_CLS",
  hubTask: { type: "token-classification", name: "Token Classification" },
  unnamed: (outputs) => classification.unnamed(outputs),
  of: (labels, details) => withClasses(labels ?? [], details),
};

function withClasses(
  classes: readonly string[],
  { words: form, starts }: ProblemDetails = {},
): Problem {
  const scheme = schemeOf([classes]);
  const ofWords = classification.of(classes);
  const read = (labels: Values, isStrict = false) =>
    entitiesOf(Array.from(labels, (it) => classes[it]!), scheme, isStrict);
  const types = new Set(
    classes.flatMap((_, label) => read([label])).map(({ type }) => type),
  );
  const wordsOf = (text: number) =>
    Array.from(
      { length: starts![text + 1]! - starts![text]! },
      (_, i) => starts![text]! + i,
    );
  /** The entities of each text. */
  const ofTexts = (labels: Values, isStrict = false) =>
    Array.from(
      { length: starts!.length - 1 },
      (_, text) => read(wordsOf(text).map((i) => labels[i]!), isStrict),
    );
  return {
    ...ofWords,
    ...tokens,
    units: () => starts!.length - 1,
    scorer(name, labels) {
      if (!Object.hasOwn(ENTITY_METRICS, name)) {
        const score = ofWords.scorer(WORD_METRICS[name] ?? name, labels);
        return (texts) => score(texts && Array.from(texts).flatMap(wordsOf));
      }
      const { of, isStrict } =
        ENTITY_METRICS[name as keyof typeof ENTITY_METRICS];
      const labelled = ofTexts(labels, isStrict);
      return summedScorer(
        { units: labelled.length, width: 3 },
        (predictions) => entityCounts(labelled, ofTexts(predictions, isStrict)),
        (counts) => entityScore(counts)[of],
      );
    },
    outcomes: (predictions, labels, probabilities) =>
      outcomesOf(
        types,
        ofTexts(labels),
        ofTexts(predictions),
        (text, { start, end }) => {
          const words = wordsOf(text).slice(start, end);
          const sum = words.reduce((sum, i) => sum + probabilities![i]!, 0);
          return sum / words.length;
        },
      ),
    toExample: (it, index) => ({
      ...it,
      index,
      words: it.words ?? wordsIn(it.text, form),
    }),
    prediction(logits, { text, words, read }) {
      // As Python counts characters.
      const count = (unit: number) => [...text.slice(0, unit)].length;
      const entities = entitiesInText(
        text,
        readWords(words!, read),
        Array.from(ofWords.predictions(logits), (it) => classes[it]!),
        ofWords.confidences(logits)!,
        classes,
      ).map((entity) => ({
        ...entity,
        start: count(entity.start),
        end: count(entity.end),
      }));
      return { label: null, probabilities: null, score: null, entities };
    },
  };
}

/**
 * What a label or a prediction is where no entity has exactly these words: one
 * that overlaps, or none.
 */
const BORDER = "another border";
const NOTHING = "nothing";

/**
 * Entities beside those predicted with the same words, by type: one that has no
 * counterpart was missed, or was made up.
 */
function outcomesOf(
  types: ReadonlySet<string>,
  labelled: readonly (readonly Entity[])[],
  predicted: readonly (readonly Entity[])[],
  probability: (text: number, entity: Entity) => number,
): Outcomes {
  const names = [...types, BORDER, NOTHING];
  const typeOf = ({ type }: Entity) => names.indexOf(type);
  /** The type of the counterpart of an entity, by number. */
  const beside = ({ start, end }: Entity, all: readonly Entity[]) => {
    const overlapping = all.filter((it) => it.start < end && start < it.end);
    const same = overlapping.find((it) => it.start === start && it.end === end);
    if (same !== undefined) return typeOf(same);
    // The names after the types.
    return overlapping.length > 0 ? types.size : types.size + 1;
  };
  const outcomes: Outcomes["outcomes"][number][] = [];
  for (const [example, entities] of labelled.entries()) {
    const predictions = predicted[example]!;
    for (const words of entities) {
      outcomes.push({
        words,
        label: typeOf(words),
        prediction: beside(words, predictions),
        example,
        probability: probability(example, words),
      });
    }
    for (const words of predictions) {
      const label = beside(words, entities);
      // Of one with the same words, the label has its outcome already.
      if (label < types.size) continue;
      outcomes.push({
        words,
        label,
        prediction: typeOf(words),
        example,
        probability: probability(example, words),
      });
    }
  }
  return { names, classes: types.size, outcomes };
}

/** The tagged text of a row that {@linkcode tagColumn} has read. */
function taggedIn({ values }: Row): TaggedText {
  return values[1] as TaggedText;
}

/** Words with tags, or spans of a text. */
export const tagColumn: LabelColumn = {
  problem: "tokens",
  reader({ repairs, log, fault }) {
    let scheme: Scheme | undefined;
    return (rows, isLabelled) => {
      const widened: string[] = [];
      const texts = readTagged(rows, isLabelled, scheme ?? "BIO", widened);
      const [first] = widened;
      if (first !== undefined) {
        fault(
          `${widened.length} spans end inside a word, and are taken to the end of the word (first ${first})`,
        );
      }
      if (scheme === undefined) {
        scheme = schemeOf(texts.map(({ tags = [] }) => tags));
        log(`The tags are ${scheme === "plain" ? "plain" : `in ${scheme}`}`);
        if (scheme === "plain") mixedTags(texts).forEach(fault);
      }
      return checkTags(texts, scheme, repairs ? fault : undefined)
        .map((text) => ({ place: text.place, values: [text.text, text] }));
    };
  },
  wordForm: (rows) =>
    formOf(
      rows.map(taggedIn).flatMap(({ text, words }) =>
        words.map((it) => text.slice(...it))
      ),
    ),
  namesIn(rows) {
    const texts = rows.map(taggedIn);
    const names = tagClasses(texts, schemeOf(texts.map(({ tags }) => tags!)));
    if (names.length > 1 && names.length <= MAX_CLASSES) return names;
    const last = rows.at(-1)?.place ?? "none";
    throw new SyntaxError(
      `The words have different tags: ${names.length}, expected 2 to ${MAX_CLASSES}; they are ${
        quoteAll(names)
      } (last text: ${last})`,
    );
  },
  of(classes) {
    const scheme = schemeOf([classes]);
    const keyOf = (tag: string) => partsOf(tag, scheme).join("-");
    const numberOf = new Map(classes.map((name, i) => [keyOf(name), i]));
    return {
      read(row) {
        const { words, tags, wordPlace } = taggedIn(row);
        return {
          words: words.map(([start, end], i): LabelledWord => {
            if (tags === undefined) return [start, end];
            const label = numberOf.get(keyOf(tags[i]!));
            if (label !== undefined) return [start, end, label];
            throw new SyntaxError(
              `${wordPlace(i)}: Tag ${
                quote(tags[i]!)
              } is not one of the classes (${quoteAll(classes)})`,
            );
          }),
        };
      },
      describe(labels) {
        const first = labels.map((it) => partsOf(classes[it]!, scheme))
          .filter(([prefix]) =>
            scheme === "plain" ? prefix !== OUTSIDE : "BS".includes(prefix)
          );
        const counts = [...Map.groupBy(first, ([, type]) => type)]
          .sort(([, a], [, b]) => b.length - a.length)
          .map(([type, { length }]) => `${quote(type)} ${length}`);
        return `${labels.length} words, ${
          scheme === "plain" ? "tagged" : "with entities"
        }: ${counts.join(", ")}`;
      },
      // With other tags, it is another row.
      faults: (rows) =>
        repeatedRows(rows.map((row) => ({
          ...row,
          values: [row.values[0], JSON.stringify(taggedIn(row).tags)],
        }))),
      usualMetrics: () =>
        classes.includes(OUTSIDE)
          ? [...Object.keys(ENTITY_METRICS), "word_accuracy"]
          : Object.keys(WORD_METRICS),
    };
  },
};
