import { faultsOf } from "../data/faults.ts";
import { className, describeValue, placesOf } from "../data/labels.ts";
import type { Row } from "../data/columns.ts";
import { quote } from "../data/text_file.ts";
import { EMBEDDED, EMBEDDING, product, unitRows } from "./embedding.ts";
import {
  count,
  type LabelColumn,
  type Problem,
  type ProblemKind,
  type SequenceEmbeddings,
  summedScorer,
  throwFaults,
  type Values,
} from "./problem.ts";
import { RETRIEVAL_METRICS, retrievalScores } from "./retrieval_metrics.ts";
import { textsIn } from "./similarity.ts";

/**
 * Numbers in the row of targets of an example: those of its text and of its
 * group, which count together, so that no text has the number of a group.
 */
const TARGETS = 2;

/**
 * Numbers in the row of predictions of an example; see {@linkcode nearestAt}.
 */
const PREDICTED = 3;

/**
 * Those that only the position of the first text of the group is needed for: a
 * group has any number of them.
 */
const METRICS = ["accuracy@1", "accuracy@10", "mrr@10"];

/**
 * Texts with groups, such as an intent, whose embeddings lie near each other
 * where they have the same: each text is a query, which is to find one of its
 * group among all other texts.
 */
export const groups: ProblemKind = {
  ...EMBEDDING,
  name: "groups",
  metrics: Object.fromEntries(
    METRICS.map((name) => [name, RETRIEVAL_METRICS[name]]),
  ),
  of(labels) {
    if (labels === null) return problem;
    throw new SyntaxError(
      'Texts with groups have no classes: "labels" must be null',
    );
  },
};

const problem: Problem = {
  ...groups,
  ...EMBEDDED,
  inWords: (task) => `texts with groups, "${task}"`,
  width: TARGETS,
  predictionWidth: PREDICTED,
  accepts: (value) => Number.isInteger(value) && value >= 0,
  // Texts of one group are no negatives of each other: the number of the group
  // stands where retrieval has that of the answer.
  loss: "multiple-negatives-ranking",
  symmetricLoss: "multiple-negatives-symmetric-ranking",
  units: (targets) => targets.length / TARGETS,
  fromEmbeddings: nearest,
  scorer: (metric, targets) =>
    summedScorer(
      { units: targets.length / TARGETS, width: 2 },
      (predictions) => {
        const positions = Array.from(
          { length: predictions.length / PREDICTED },
          (_, example) =>
            Int32Array.of(nearestAt(predictions, example).position),
        );
        return Array.from(retrievalScores(metric, positions))
          .flatMap((score) => [score, 1]);
      },
      ([sum, count]) => sum! / count!,
    ),
};

/** A text among which others are searched: the second one of an example. */
interface Candidate {
  readonly example: number;
  readonly embedding: Float64Array;
  /** Of its embedding, the same for texts with equal tokens. */
  readonly number: number;
  readonly group: number;
}

/**
 * For each text, the nearest of its group and the nearest of another one, among
 * all other texts.
 *
 * @param targets `[examples, TARGETS]`, flat
 * @returns `[examples, PREDICTED]`, flat
 */
function nearest(
  { values, numbers }: SequenceEmbeddings,
  targets: Values,
): Float32Array {
  const different = 1 + numbers.reduce((most, it) => Math.max(most, it), 0);
  const embeddings = unitRows(values, different);
  const examples = targets.length / TARGETS;
  const groupOf = (example: number) => targets[example * TARGETS + 1]!;
  const candidates = new Map<string, Candidate>();
  for (let example = 0; example < examples; example++) {
    const number = numbers[2 * example + 1]!;
    const group = groupOf(example);
    candidates.getOrInsertComputed(`${number} ${group}`, () => ({
      example,
      embedding: embeddings[number]!,
      number,
      group,
    }));
  }
  const predictions = new Float32Array(examples * PREDICTED);
  for (let example = 0; example < examples; example++) {
    const number = numbers[2 * example]!;
    const others = [...candidates.values()]
      .filter((it) => it.number !== number);
    const { position, answer, wrong } = nearestOf(
      embeddings[number]!,
      groupOf(example),
      others,
    );
    predictions.set(
      [position, answer?.example ?? example, wrong?.example ?? -1],
      example * PREDICTED,
    );
  }
  return predictions;
}

/** What is nearest to a text. */
interface Nearest {
  /** That of the first text of its group in the ranking of all, from 1. */
  readonly position: number;
  /** That text; undefined if there is none, so that it is behind all others. */
  readonly answer: Candidate | undefined;
  /** The first text of another group. */
  readonly wrong: Candidate | undefined;
}

/** Ranks other texts by their cosines; of equal ones, the first is nearer. */
function nearestOf(
  query: Float64Array,
  group: number,
  others: readonly Candidate[],
): Nearest {
  const cosines = others.map(({ embedding }) => product(query, embedding));
  const isAnswer = (i: number) => others[i]!.group === group;
  const answer = highest(cosines, isAnswer);
  const wrong = highest(cosines, (i) => !isAnswer(i));
  const isBefore = (cosine: number, i: number) =>
    answer < 0 || cosine > cosines[answer]! ||
    cosine === cosines[answer] && i < answer;
  const before = count(
    cosines,
    (cosine, i) => !isAnswer(i) && isBefore(cosine, i),
  );
  return { position: 1 + before, answer: others[answer], wrong: others[wrong] };
}

/** Number of the first highest value that is allowed; -1 if none is. */
function highest(values: Values, isAllowed: (i: number) => boolean): number {
  let best = -1;
  for (let i = 0; i < values.length; i++) {
    if (!isAllowed(i)) continue;
    if (best < 0 || values[i]! > values[best]!) best = i;
  }
  return best;
}

/**
 * What is predicted of an example: the position of the nearest text of its
 * group in the ranking of all other texts, from 1; the number of the example
 * whose second text it is, the example itself if the group has no other tokens;
 * and that of the nearest text of another group, or -1.
 */
export function nearestAt(
  predictions: Values,
  example: number,
): {
  readonly position: number;
  readonly answer: number;
  readonly wrong: number;
} {
  const first = example * PREDICTED;
  return {
    position: predictions[first]!,
    answer: predictions[first + 1]!,
    wrong: predictions[first + 2]!,
  };
}

/** A text with its group, and another text of the group. */
interface GroupedText {
  /** As the file has it. */
  readonly row: Row;
  readonly text: string;
  readonly group: string;
}

/** What {@linkcode groupColumn} makes of a row. */
interface PairedText extends GroupedText {
  readonly other: string;
}

function pairedIn({ values }: Row): PairedText {
  return values[1] as PairedText;
}

/** A column of texts, and one of their groups. */
export const groupColumn: LabelColumn = {
  problem: "groups",
  reader: ({ fault }) => (rows, isLabelled) => {
    if (!isLabelled) {
      throw new SyntaxError(
        `${
          rows[0]!.place
        }: The texts have no groups, by which they are scored: name a file that has them`,
      );
    }
    const paired = withOthers(groupedTexts(rows), fault);
    if (new Set(paired.map(({ group }) => group)).size > 1) {
      return paired.map((it) => ({
        place: it.row.place,
        values: [it.text, it],
      }));
    }
    const last = rows.at(-1)!.place;
    throw new SyntaxError(
      `Fewer than two groups have two different texts (last row: ${last}), so that there is nothing to tell apart: add rows, or name the column of the groups by -S group=COLUMN`,
    );
  },
  namesIn: () => null,
  of() {
    const numbers = new Map<string, number>();
    const numberOf = (key: string) => numbers.getOrInsert(key, numbers.size);
    return {
      read(row) {
        const { text, group, other } = pairedIn(row);
        const targets = [numberOf(`text ${text}`), numberOf(`group ${group}`)];
        return { text, others: [other], targets };
      },
      describe: (targets) =>
        `texts of ${
          new Set(targets.filter((_, i) => i % TARGETS === 1)).size
        } groups`,
      faults: (rows, facts) =>
        faultsOf(rows.map((row) => pairedIn(row).row), {
          ...facts,
          areScores: false,
        }),
      // Texts of one group are held out together, so that no text of the
      // training has one of them beside it.
      heldTogether: ({ targets }) => String(targets![1]),
      usualMetrics: () => METRICS,
    };
  },
};

/**
 * The texts of rows with their groups.
 *
 * @throws {SyntaxError} With the places of rows that have none.
 */
function groupedTexts(rows: readonly Row[]): GroupedText[] {
  const faults: string[] = [];
  const texts = rows.flatMap((row) => {
    try {
      const [value] = row.values;
      const [text] = textsIn([value], row.place);
      return { row, text: text!, group: groupIn(row) };
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      faults.push(error.message);
      return [];
    }
  });
  throwFaults(faults);
  return texts;
}

/** @throws {SyntaxError} With its place, if a row has no name of a group. */
function groupIn({ values, place }: Row): string {
  const value = values.at(-1);
  const name = className(value);
  if (name !== undefined) return name;
  throw new SyntaxError(
    `${place}: Expected the name of a group, found ${describeValue(value)}`,
  );
}

/**
 * Gives each text another one of its group, so that each is one other's: that
 * which stands half of the group further on, since neighbours in a file are
 * often alike.
 *
 * @param fault Called with how many texts are left out that are alone
 */
function withOthers(
  texts: readonly GroupedText[],
  fault: (what: string) => void,
): PairedText[] {
  const byGroup = Map.groupBy(texts, ({ group }) => group);
  const others = new Map<string, ReadonlyMap<string, string>>();
  for (const [group, inGroup] of byGroup) {
    const different = [...new Set(inGroup.map(({ text }) => text))];
    if (different.length < 2) continue;
    const half = Math.floor(different.length / 2);
    const other = (i: number) => different[(i + half) % different.length]!;
    others.set(group, new Map(different.map((text, i) => [text, other(i)])));
  }
  const alone = texts.filter(({ group }) => !others.has(group));
  if (alone.length > 0) {
    const names = new Set(alone.map(({ group }) => group));
    const places = placesOf(alone.map(({ row }) => row), 5);
    fault(
      `${alone.length} of ${texts.length} rows are alone in their groups (${
        [...names].slice(0, 3).map(quote).join(", ")
      }${names.size > 3 ? ", ..." : ""}) and are left out: ${places}`,
    );
  }
  return texts.flatMap((it) => {
    const other = others.get(it.group)?.get(it.text);
    return other === undefined ? [] : { ...it, other };
  });
}
