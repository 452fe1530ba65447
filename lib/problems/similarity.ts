import { repeatedRows } from "../data/faults.ts";
import { describeValue, textIn, toNumber } from "../data/labels.ts";
import type { Row } from "../data/columns.ts";
import { EMBEDDED, EMBEDDING, product, unitRows } from "./embedding.ts";
import {
  exampleScorer,
  type LabelColumn,
  type Metrics,
  ONE_NUMBER,
  type Problem,
  type ProblemKind,
  type SequenceEmbeddings,
  throwFaults,
} from "./problem.ts";
import { CORRELATIONS } from "./regression.ts";

/** Metrics of the cosines of pairs, by the names of sentence-transformers. */
const METRICS: Metrics = {
  spearman_cosine: CORRELATIONS.spearman,
  pearson_cosine: CORRELATIONS.pearson,
};

/**
 * Each pair of texts has a score, whose order the cosines of embeddings have.
 */
export const similarity: ProblemKind = {
  ...EMBEDDING,
  name: "similarity",
  metrics: METRICS,
  of(labels) {
    if (labels === null) return problem;
    throw new SyntaxError(
      'Pairs with scores have no classes: "labels" must be null',
    );
  },
};

const problem: Problem = {
  ...similarity,
  ...EMBEDDED,
  ...ONE_NUMBER,
  inWords: (task) => `pairs of texts with scores, "${task}"`,
  accepts: Number.isFinite,
  loss: "cosent",
  units: (labels) => labels.length,
  fromEmbeddings: cosines,
  scorer: (name, labels) => exampleScorer(METRICS, name, labels),
};

/** The cosine of each pair. */
function cosines({ values, numbers }: SequenceEmbeddings): Float32Array {
  const count = 1 + numbers.reduce((most, it) => Math.max(most, it), 0);
  const rows = unitRows(values, count);
  return Float32Array.from(
    { length: numbers.length / 2 },
    (_, pair) =>
      product(rows[numbers[2 * pair]!]!, rows[numbers[2 * pair + 1]!]!),
  );
}

/** Two texts and their score, as {@linkcode scoredPairColumn} reads them. */
interface ScoredPair {
  /** As the file has it. */
  readonly row: Row;
  readonly texts: readonly [string, string];
  /** Undefined in a test set without scores. */
  readonly score: number | undefined;
}

function pairIn({ values }: Row): ScoredPair {
  return values[1] as ScoredPair;
}

/** Two columns of texts and one of numbers. */
export const scoredPairColumn: LabelColumn = {
  problem: "similarity",
  reader: ({ range }) => (rows, isLabelled) => {
    const faults: string[] = [];
    const read = rows.flatMap((row) => {
      try {
        const pair: ScoredPair = {
          row,
          texts: textsIn(row.values.slice(0, 2), row.place) as [string, string],
          score: isLabelled
            ? scoreIn(row.values.at(-1), row.place, range)
            : undefined,
        };
        return { place: row.place, values: [JSON.stringify(pair.texts), pair] };
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
    const pairs = rows.map(pairIn);
    const last = rows.at(-1)!.place;
    const [first] = pairs;
    if (pairs.every(({ texts: [one, other] }) => one === other)) {
      throw new SyntaxError(
        `The two texts of all ${pairs.length} rows are equal (last row: ${last}): name the column of the second texts by -S positive=COLUMN`,
      );
    }
    if (pairs.every(({ score }) => score === first!.score)) {
      throw new SyntaxError(
        `The scores of all ${pairs.length} rows are ${
          first!.score
        } (last row: ${last}), and their order is what is learnt: name the column of different scores by -S score=COLUMN, or leave it out if all texts of a row belong together`,
      );
    }
    return null;
  },
  of: () => ({
    read(row) {
      const { texts: [text, other], score } = pairIn(row);
      return {
        text,
        others: [other],
        ...score !== undefined && { label: score },
      };
    },
    describe(scores) {
      const least = scores.reduce((a, b) => Math.min(a, b));
      const most = scores.reduce((a, b) => Math.max(a, b));
      return `pairs of texts with scores from ${least} to ${most}`;
    },
    faults: (rows) => repeatedRows(rows.map((row) => pairIn(row).row)),
    usualMetrics: () => Object.keys(METRICS),
  }),
};

/**
 * Texts of a row.
 *
 * @throws {SyntaxError} With its place, if a value is no text, or an empty one
 */
export function textsIn(values: readonly unknown[], place: string): string[] {
  return values.map((value) => {
    const text = textIn(value, place);
    if (text.trim() !== "") return text;
    throw new SyntaxError(
      `${place}: A text is empty: write one, or remove the row`,
    );
  });
}

/**
 * @throws {SyntaxError} With its place, if a value is no number, or beyond the
 * range
 */
function scoreIn(
  value: unknown,
  place: string,
  range: readonly [number, number] | undefined,
): number {
  const score = toNumber(value);
  if (Number.isNaN(score)) {
    throw new SyntaxError(
      `${place}: Expected a number as the score, found ${describeValue(value)}`,
    );
  }
  if (range === undefined || score >= range[0] && score <= range[1]) {
    return score;
  }
  throw new SyntaxError(
    `${place}: The score ${score} is not between ${range[0]} and ${
      range[1]
    }: correct it, or set the range by -S scoreRange=[LEAST,MOST]`,
  );
}
