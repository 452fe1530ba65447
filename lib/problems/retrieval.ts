import { faultsOfTexts } from "../data/faults.ts";
import type { Row } from "../data/table.ts";
import { EMBEDDED, EMBEDDING, product, unitRows } from "./embedding.ts";
import {
  type LabelColumn,
  type Problem,
  type ProblemDetails,
  type ProblemKind,
  type Scorer,
  type SequenceEmbeddings,
  summedScorer,
  throwFaults,
  type Values,
} from "./problem.ts";
import {
  relevantPlaces,
  RETRIEVAL_METRICS,
  retrievalScores,
} from "./retrieval_metrics.ts";
import { textsIn } from "./similarity.ts";

/** Texts of an example without hard negatives: a query and its answer. */
const PAIR = 2;

/**
 * Numbers in the row of predictions of an example: the place of its answer in
 * the ranking of its query, and the number of the example whose answer is
 * ranked highest of those that are not the query's, or -1; beyond the examples,
 * it is that of a text of the corpus.
 */
const PREDICTED = 2;

/**
 * Each example has texts that belong together: a query, its answer, and what is
 * none.
 */
export const retrieval: ProblemKind = {
  ...EMBEDDING,
  name: "retrieval",
  metrics: RETRIEVAL_METRICS,
  of(labels, details) {
    if (labels === null) return withTexts(details);
    throw new SyntaxError(
      'Texts that belong together have no classes: "labels" must be null',
    );
  },
};

function withTexts({ sequences = PAIR }: ProblemDetails = {}): Problem {
  return {
    ...retrieval,
    ...EMBEDDED,
    inWords: (task) => `texts that belong together, "${task}"`,
    width: sequences,
    predictionWidth: PREDICTED,
    accepts: (value) => Number.isInteger(value) && value >= 0,
    loss: "multiple-negatives-ranking",
    symmetricLoss: "multiple-negatives-symmetric-ranking",
    units: (targets) => queriesOf(targets, sequences).length,
    fromEmbeddings: (embeddings, targets) =>
      rankings(embeddings, targets, sequences),
    scorer: (metric, targets) =>
      rankingScorer(metric, queriesOf(targets, sequences)),
  };
}

/** A text that is searched for, with its answers. */
interface Query {
  /** The first example of each answer, in the order of the data. */
  readonly answers: readonly number[];
}

/**
 * The different queries of examples. Equal texts have equal numbers.
 *
 * @param targets Numbers of texts, `[examples, sequences]`
 */
export function queriesOf(targets: Values, sequences: number): Query[] {
  const queries = new Map<number, Map<number, number>>();
  for (let i = 0; i < targets.length / sequences; i++) {
    const query = targets[i * sequences]!;
    const answer = targets[i * sequences + 1]!;
    const answers = queries.getOrInsertComputed(query, () => new Map());
    if (!answers.has(answer)) answers.set(answer, i);
  }
  return Array.from(
    queries.values(),
    (answers) => ({ answers: [...answers.values()] }),
  );
}

/**
 * Ranks for each query the answers of all examples, and further texts of a
 * corpus, by their cosines.
 *
 * @returns `[examples, PREDICTED]`, flat
 */
function rankings(
  { values, numbers }: SequenceEmbeddings,
  targets: Values,
  sequences: number,
): Float32Array {
  const count = 1 + numbers.reduce((most, it) => Math.max(most, it), 0);
  const rows = unitRows(values, count);
  const examples = targets.length / sequences;
  /** Of each text of the corpus, the first example that has it. */
  const corpus = new Map<number, number>();
  const queries = new Map<number, number[]>();
  for (let i = 0; i < examples; i++) {
    const query = targets[i * sequences]!;
    const answer = targets[i * sequences + 1]!;
    if (!corpus.has(answer)) corpus.set(answer, i);
    queries.getOrInsertComputed(query, () => []).push(i);
  }
  const firsts = [...corpus.values()];
  const ranked = new Set(firsts.map((i) => numbers[i * sequences + 1]!));
  const further: number[] = [];
  for (let i = examples * sequences; i < numbers.length; i++) {
    const number = numbers[i]!;
    if (ranked.has(number)) continue;
    ranked.add(number);
    further.push(i);
  }
  const placeInCorpus = new Map([...corpus.keys()].map((it, i) => [it, i]));
  const texts = [
    ...firsts.map((i) => rows[numbers[i * sequences + 1]!]!),
    ...further.map((i) => rows[numbers[i]!]!),
  ];
  /** Number of the example, or beyond these of the text of the corpus. */
  const exampleOf = (text: number) =>
    firsts[text] ??
      further[text - firsts.length]! - examples * sequences + examples;
  const predictions = new Float32Array(examples * PREDICTED);
  for (const ofQuery of queries.values()) {
    const query = rows[numbers[ofQuery[0]! * sequences]!]!;
    const similarities = Float64Array.from(
      texts,
      (text) => product(query, text),
    );
    const relevant = [
      ...new Set(
        ofQuery.map((i) => placeInCorpus.get(targets[i * sequences + 1]!)!),
      ),
    ].sort((a, b) => similarities[b]! - similarities[a]! || a - b);
    const places = relevantPlaces(similarities, relevant);
    const placeOf = new Map(relevant.map((text, i) => [text, places[i]!]));
    let wrong = -1;
    for (let text = 0; text < texts.length; text++) {
      if (placeOf.has(text)) continue;
      if (wrong < 0 || similarities[text]! > similarities[wrong]!) wrong = text;
    }
    for (const i of ofQuery) {
      const text = placeInCorpus.get(targets[i * sequences + 1]!)!;
      predictions[i * PREDICTED] = placeOf.get(text)!;
      predictions[i * PREDICTED + 1] = wrong < 0 ? -1 : exampleOf(wrong);
    }
  }
  return predictions;
}

/** What is predicted of an example, as {@linkcode PREDICTED} says. */
export function rankingAt(
  predictions: Values,
  example: number,
): { readonly place: number; readonly wrong: number } {
  const place = predictions[example * PREDICTED]!;
  return { place, wrong: predictions[example * PREDICTED + 1]! };
}

/** Scores the rankings of queries, of which a metric is the mean. */
function rankingScorer(metric: string, queries: readonly Query[]): Scorer {
  return summedScorer(
    { units: queries.length, width: 2 },
    (predictions) => {
      const places = queries.map(({ answers }) =>
        Int32Array.from(answers, (i) => rankingAt(predictions, i).place).sort()
      );
      return Array.from(retrievalScores(metric, places))
        .flatMap((score) => [score, 1]);
    },
    ([sum, count]) => sum! / count!,
  );
}

/** The texts of a row, as {@linkcode answerColumn} reads them. */
interface Texts {
  /** As the file has it. */
  readonly row: Row;
  /** The query, its answer, and what is none. */
  readonly texts: readonly string[];
}

function textsOf({ values }: Row): Texts {
  return values[1] as Texts;
}

/**
 * Largest number of different texts: beyond, float32 does not tell numbers
 * apart.
 */
const MAX_TEXTS = 2 ** 24;

/** Two or more columns of texts. */
export const answerColumn: LabelColumn = {
  problem: "retrieval",
  reader: () => (rows) => {
    const faults: string[] = [];
    const read = rows.flatMap((row) => {
      try {
        const texts = textsIn(row.values, row.place);
        return { place: row.place, values: [texts[0], { row, texts }] };
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
        faults.push(error.message);
        return [];
      }
    });
    throwFaults(faults);
    return read;
  },
  namesIn(rows) {
    const all = rows.map((row) => textsOf(row).texts);
    const last = rows.at(-1)!.place;
    if (all.every(([query, answer]) => query === answer)) {
      throw new SyntaxError(
        `The two texts of all ${all.length} rows are equal (last row: ${last}): name the column of the second texts by -S positive=COLUMN`,
      );
    }
    for (const [column, what] of ["first", "second"].entries()) {
      if (new Set(all.map((texts) => texts[column])).size > 1) continue;
      throw new SyntaxError(
        `The ${what} texts of all ${all.length} rows are equal (last row: ${last}), so that no text is a negative of another: add rows with other texts`,
      );
    }
    return null;
  },
  of() {
    const numbers = new Map<string, number>();
    return {
      read(row) {
        const { texts: [text, ...others] } = textsOf(row);
        const targets = [text!, ...others]
          .map((it) => numbers.getOrInsert(it, numbers.size));
        if (numbers.size > MAX_TEXTS) {
          throw new SyntaxError(
            `${row.place}: There are more than ${MAX_TEXTS} different texts, the most that are told apart: use fewer rows`,
          );
        }
        return { text: text!, others, targets };
      },
      describe: (numbers) =>
        `texts that belong together, ${new Set(numbers).size} different ones`,
      faults: (rows) => faultsOfTexts(rows.map((row) => textsOf(row).row)),
      // Texts of one query are held out together.
      heldTogether: ({ text }) => text,
      usualMetrics: () => Object.keys(RETRIEVAL_METRICS),
    };
  },
};
