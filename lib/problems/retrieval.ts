import { faultsOfTexts } from "../data/faults.ts";
import type { Row } from "../data/columns.ts";
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
  relevantPositions,
  RETRIEVAL_METRICS,
  retrievalScores,
} from "./retrieval_metrics.ts";
import { textsIn } from "./similarity.ts";

/** Texts of an example without hard negatives: a query and its answer. */
const PAIR = 2;

/**
 * Numbers in the row of predictions of an example: the position of its answer
 * in the ranking of its query, and the number of the example whose answer is
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
  const corpus = corpusOf(numbers, targets, sequences);
  const texts = corpus.numbers.map((number) => rows[number]!);
  const examples = targets.length / sequences;
  const predictions = new Float32Array(examples * PREDICTED);
  for (const ofQuery of examplesByQuery(targets, sequences)) {
    const query = rows[numbers[ofQuery[0]! * sequences]!]!;
    const similarities = Float64Array.from(
      texts,
      (text) => product(query, text),
    );
    const answers = ofQuery.map((example) =>
      corpus.indices.get(targets[example * sequences + 1]!)!
    );
    const positions = positionsOf(similarities, answers);
    const wrong = mostSimilar(similarities, (text) => !positions.has(text));
    for (const [i, example] of ofQuery.entries()) {
      predictions[example * PREDICTED] = positions.get(answers[i]!)!;
      predictions[example * PREDICTED + 1] = wrong === undefined
        ? -1
        : corpus.examples[wrong]!;
    }
  }
  return predictions;
}

/** The different texts that each query ranks: answers, then further ones. */
interface Corpus {
  /** Number of the embedding of each text. */
  readonly numbers: readonly number[];
  /**
   * Number that a prediction has for each text: of the first example with this
   * answer or, beyond the examples, of a further text.
   */
  readonly examples: readonly number[];
  /** Index of each answer in the corpus, by its number in the targets. */
  readonly indices: ReadonlyMap<number, number>;
}

/**
 * @param embeddings Number of the embedding of each text of the examples,
 * `[examples, sequences]`, then of each further text
 * @param targets Numbers of texts, `[examples, sequences]`
 */
function corpusOf(
  embeddings: Values,
  targets: Values,
  sequences: number,
): Corpus {
  const numbers: number[] = [];
  const examples: number[] = [];
  const indices = new Map<number, number>();
  const exampleCount = targets.length / sequences;
  for (let example = 0; example < exampleCount; example++) {
    const position = example * sequences + 1;
    const answer = targets[position]!;
    if (indices.has(answer)) continue;
    indices.set(answer, numbers.length);
    numbers.push(embeddings[position]!);
    examples.push(example);
  }
  const ranked = new Set(numbers);
  for (let i = targets.length; i < embeddings.length; i++) {
    const number = embeddings[i]!;
    if (ranked.has(number)) continue;
    ranked.add(number);
    numbers.push(number);
    examples.push(exampleCount + i - targets.length);
  }
  return { numbers, examples, indices };
}

/** The examples of each different query, in the order of the data. */
function examplesByQuery(targets: Values, sequences: number): number[][] {
  const queries = new Map<number, number[]>();
  for (let example = 0; example < targets.length / sequences; example++) {
    const query = targets[example * sequences]!;
    queries.getOrInsertComputed(query, () => []).push(example);
  }
  return [...queries.values()];
}

/**
 * Position of each answer in the ranking of a query, from 1, by its index in
 * the corpus.
 *
 * @param similarities Of the query and each text of the corpus
 */
function positionsOf(
  similarities: Values,
  answers: readonly number[],
): Map<number, number> {
  // In the order of the ranking, as relevantPositions() gives the positions.
  const ranked = [...new Set(answers)]
    .sort((a, b) => similarities[b]! - similarities[a]! || a - b);
  const positions = relevantPositions(similarities, ranked);
  return new Map(ranked.map((text, i) => [text, positions[i]!]));
}

/**
 * The first of the most similar texts that are accepted; undefined if none is.
 */
function mostSimilar(
  similarities: Values,
  accepts: (text: number) => boolean,
): number | undefined {
  let best: number | undefined;
  for (let text = 0; text < similarities.length; text++) {
    if (!accepts(text)) continue;
    const isBest = best === undefined ||
      similarities[text]! > similarities[best]!;
    if (isBest) best = text;
  }
  return best;
}

/** What is predicted of an example, as {@linkcode PREDICTED} says. */
export function rankingAt(
  predictions: Values,
  example: number,
): { readonly position: number; readonly wrong: number } {
  const position = predictions[example * PREDICTED]!;
  return { position, wrong: predictions[example * PREDICTED + 1]! };
}

/** Scores the rankings of queries, of which a metric is the mean. */
function rankingScorer(metric: string, queries: readonly Query[]): Scorer {
  return summedScorer(
    { units: queries.length, width: 2 },
    (predictions) => {
      const positions = queries.map(({ answers }) =>
        Int32Array.from(answers, (i) => rankingAt(predictions, i).position)
          .sort()
      );
      return Array.from(retrievalScores(metric, positions))
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
