import type { LabelledWord } from "../data/example.ts";
import { repeatedRows } from "../data/faults.ts";
import { MAX_CLASSES } from "../data/labels.ts";
import type { Row } from "../data/columns.ts";
import { quote, quoteAll } from "../data/text_file.ts";
import { classification, confidencesOf } from "./classification.ts";
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
  schemeOfClasses,
  wordsIn,
} from "./entities.ts";
import {
  type LabelColumn,
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
  of: (labels, details) => withClasses(labels ?? [], details),
};

function withClasses(
  classes: readonly string[],
  { words: form, starts }: ProblemDetails = {},
): Problem {
  const ofWords = classification.of(classes);
  const wordsOf = (text: number) =>
    Array.from(
      { length: starts![text + 1]! - starts![text]! },
      (_, i) => starts![text]! + i,
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
      const entitiesIn = (values: Values) =>
        entitiesByText(values, classes, starts!, isStrict);
      const labelled = entitiesIn(labels);
      return summedScorer(
        { units: labelled.length, width: 3 },
        (predictions) => entityCounts(labelled, entitiesIn(predictions)),
        (counts) => entityScore(counts)[of],
      );
    },
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
        confidencesOf(logits, classes.length),
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
 * The entities of each text.
 *
 * @param labels Class numbers of the words of all texts
 * @param starts Where those of each text start, `[texts + 1]`
 */
export function entitiesByText(
  labels: Values,
  classes: readonly string[],
  starts: Int32Array,
  isStrict = false,
): Entity[][] {
  const scheme = schemeOfClasses(classes);
  const tags = Array.from(labels, (label) => classes[label]!);
  return Array.from(
    { length: starts.length - 1 },
    (_, text) =>
      entitiesOf(tags.slice(starts[text], starts[text + 1]), scheme, isStrict),
  );
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
    const scheme = schemeOfClasses(classes);
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
