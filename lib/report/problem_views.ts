/**
 * What a report counts of a problem besides its scores, by problem: what is
 * right or wrong in predictions, and what can be predicted without a model.
 */
import { confidencesOf } from "../problems/classification.ts";
import {
  entitiesOf,
  type Entity,
  schemeOfClasses,
} from "../problems/entities.ts";
import { count } from "../problems/problem.ts";
import { problemNamed } from "../problems/registry.ts";
import { ranks } from "../problems/regression.ts";
import { nearestAt } from "../problems/groups.ts";
import { queriesOf, rankingAt } from "../problems/retrieval.ts";
import { entitiesByText } from "../problems/tokens.ts";
import type { RankResult, Result } from "./result.ts";

/** Targets of some units, with the problem whose targets they are. */
export type Targets = Pick<Result, "problem" | "labels" | "starts">;

/** Predictions for the same units. */
export type Predicted = Pick<RankResult, "predictions" | "probabilities">;

/** What a report counts of a problem. */
export interface ProblemView {
  /**
   * Probability of each predicted class, `[units]`; absent where predictions
   * have none, or say it themselves.
   *
   * @param outputs Number of outputs of the head
   */
  confidences?(logits: Float32Array, outputs: number): Float64Array;
  outcomes(targets: Targets, predicted: Predicted): Outcomes;
  constants(targets: Targets): Constants;
  /**
   * True if scorers add up what they have counted once, so that all metrics can
   * have intervals.
   */
  readonly isSummed?: true;
  /** How far the costs of its scores count padding, if not throughout. */
  readonly padding?: string;
}

/** What is right or wrong in predictions, by numbers of names. */
export interface Outcomes {
  /** Of the classes or types, then of what is none. */
  readonly names: readonly string[];
  /** Number of classes or types, which have scores. */
  readonly classes: number;
  /**
   * True if a unit may have several of the classes, so that none is taken for
   * another, but is found, missed or made up.
   */
  readonly areIndependent?: true;
  readonly outcomes: readonly Outcome[];
  /** Of rankings, the queries above whose answers another text is ranked. */
  readonly missed?: readonly MissedAnswer[];
}

/** A label beside its prediction. */
export interface Outcome {
  /** Number of the example that it is in. */
  readonly example: number;
  readonly label: number;
  readonly prediction: number;
  readonly probability: number | null;
  /** How wrong it is, where that is not the difference to the label. */
  readonly error?: number;
  /** Words of the example that it is about, if not all. */
  readonly words?: { readonly start: number; readonly end: number };
}

/** A query above whose answers another text is ranked. */
export interface MissedAnswer {
  /** Number of the query among all. */
  readonly query: number;
  /** Number of an example with this query. */
  readonly example: number;
  /** Number of the example with the answer that is ranked highest. */
  readonly answer: number;
  /** Position of this answer in the ranking, from 1. */
  readonly position: number;
  /**
   * Number of the example whose answer is ranked first, or beyond these of the
   * text of the corpus.
   */
  readonly firstRanked: number;
}

/** Predictions that are the same for every unit. */
export interface Constants {
  /** What they are, in words: `always predicting the same class`. */
  readonly name: string;
  /**
   * The row of predictions of a unit, that of the most frequent label first;
   * none if all count as a score of 0.
   */
  readonly rows: readonly (readonly number[])[];
}

const NO_OUTCOMES: Outcomes = { names: [], classes: 0, outcomes: [] };

const classification: ProblemView = {
  confidences: confidencesOf,
  outcomes: exampleOutcomes,
  constants: ({ problem: { classes }, labels }) => ({
    name: "always predicting the same class",
    rows: mostFrequentFirst(
      classes.map((_, label) => count(labels, (it) => it === label)),
    ).filter(({ count }) => count > 0).map(({ label }) => [label]),
  }),
};

const multiLabel: ProblemView = {
  outcomes: labelOutcomes,
  /** The most frequent label alone, then with the next one, and so on. */
  constants({ problem: { classes }, labels }) {
    const byCount = mostFrequentFirst(
      classes.map((_, label) =>
        count(labels, (it, i) => it === 1 && i % classes.length === label)
      ),
    );
    const rows = byCount.map((_, last) => {
      const row = Array<number>(classes.length).fill(0);
      for (const { label } of byCount.slice(0, last + 1)) row[label] = 1;
      return row;
    });
    return { name: "always predicting the same labels", rows };
  },
};

const regression: ProblemView = {
  outcomes: exampleOutcomes,
  // Any number has the same correlation, which is taken as 0.
  constants: () => ({ name: "always predicting the same number", rows: [] }),
};

const tokens: ProblemView = { ...classification, outcomes: entityOutcomes };

const language: ProblemView = {
  outcomes: () => NO_OUTCOMES,
  constants: regression.constants,
};

const writing: ProblemView = {
  outcomes: () => NO_OUTCOMES,
  constants: () => ({ name: "writing nothing", rows: [] }),
  isSummed: true,
  padding: "including padding in training, and without it in written texts",
};

const similarity: ProblemView = {
  outcomes: orderOutcomes,
  constants: regression.constants,
};

const retrieval: ProblemView = {
  outcomes: rankingOutcomes,
  constants: () => ({ name: "finding nothing", rows: [] }),
  isSummed: true,
};

const groups: ProblemView = { ...retrieval, outcomes: groupOutcomes };

/** By the problem's name. */
const VIEWS: Readonly<Record<string, ProblemView>> = {
  classification,
  "multi-label": multiLabel,
  regression,
  tokens,
  language,
  writing,
  similarity,
  retrieval,
  groups,
};

/** What a report counts of a problem. */
export function viewOf({ name }: { readonly name: string }): ProblemView {
  const view = VIEWS[name];
  if (view !== undefined) return view;
  throw new TypeError(`A report of "${name}" has no view`);
}

/** How far the costs of what a metric scores count padding, in words. */
export function paddingOf(metric: string): string {
  const views = Object.entries(VIEWS).filter(([name]) =>
    Object.hasOwn(problemNamed(name).metrics, metric)
  );
  return views[0]?.[1].padding ?? "including padding";
}

/** The same row of predictions for a number of units, flat. */
export function repeatedRow(
  row: readonly number[],
  units: number,
): Float64Array {
  return Float64Array.from(
    { length: units * row.length },
    (_, i) => row[i % row.length]!,
  );
}

/** Labels with their counts, the smallest first on a tie. */
function mostFrequentFirst(counts: readonly number[]) {
  return counts.map((count, label) => ({ count, label }))
    .sort((a, b) => b.count - a.count);
}

/** Each unit as right or wrong. */
function exampleOutcomes(
  { problem: { classes }, labels }: Targets,
  { predictions, probabilities }: Predicted,
): Outcomes {
  const outcomes = Array.from(labels, (label, example): Outcome => ({
    example,
    label,
    prediction: predictions[example]!,
    probability: probabilities?.[example] ?? null,
  }));
  return { names: classes, classes: classes.length, outcomes };
}

/** What a label or a prediction is where there is none. */
const NOTHING = "nothing";

/**
 * Each label that a text has or is predicted to have: as itself where both
 * agree, otherwise as nothing, which makes scores of each label those of
 * scikit-learn. Of a label that is missed, the probability is that of its
 * absence.
 */
function labelOutcomes(
  { problem: { classes, threshold }, labels }: Targets,
  { predictions }: Predicted,
): Outcomes {
  const nothing = classes.length;
  const outcomes: Outcome[] = [];
  for (let i = 0; i < labels.length; i++) {
    const label = i % classes.length;
    const probability = predictions[i]!;
    const isLabelled = labels[i] === 1;
    const isPredicted = probability >= threshold!;
    if (!isLabelled && !isPredicted) continue;
    outcomes.push({
      example: Math.floor(i / classes.length),
      label: isLabelled ? label : nothing,
      prediction: isPredicted ? label : nothing,
      probability: isPredicted ? probability : 1 - probability,
    });
  }
  return {
    names: [...classes, NOTHING],
    classes: nothing,
    areIndependent: true,
    outcomes,
  };
}

/** What an entity is where one with other words overlaps it. */
const BORDER = "another border";

/**
 * Entities beside those predicted with the same words, by type: one that has no
 * counterpart was missed, or was made up.
 */
function entityOutcomes(
  { problem: { classes }, labels, starts }: Targets,
  { predictions, probabilities }: Predicted,
): Outcomes {
  const scheme = schemeOfClasses(classes);
  const types = new Set(
    classes.flatMap((tag) => entitiesOf([tag], scheme)).map(({ type }) => type),
  );
  const names = [...types, BORDER, NOTHING];
  const border = names.indexOf(BORDER);
  const nothing = names.indexOf(NOTHING);
  const typeOf = ({ type }: Entity) => names.indexOf(type);
  /** The type of the counterpart of an entity, by number. */
  const beside = ({ start, end }: Entity, all: readonly Entity[]) => {
    const overlapping = all.filter((it) => it.start < end && start < it.end);
    const same = overlapping.find((it) => it.start === start && it.end === end);
    if (same !== undefined) return typeOf(same);
    return overlapping.length > 0 ? border : nothing;
  };
  const labelled = entitiesByText(labels, classes, starts!);
  const predicted = entitiesByText(predictions, classes, starts!);
  const outcomes: Outcome[] = [];
  for (const [text, entities] of labelled.entries()) {
    const first = starts![text]!;
    const meanProbability = ({ start, end }: Entity) => {
      let sum = 0;
      for (let i = start; i < end; i++) sum += probabilities![first + i]!;
      return sum / (end - start);
    };
    for (const entity of entities) {
      outcomes.push({
        words: entity,
        label: typeOf(entity),
        prediction: beside(entity, predicted[text]!),
        example: text,
        probability: meanProbability(entity),
      });
    }
    for (const entity of predicted[text]!) {
      const label = beside(entity, entities);
      // Of one with the same words, the label has its outcome already.
      if (label < types.size) continue;
      outcomes.push({
        words: entity,
        label,
        prediction: typeOf(entity),
        example: text,
        probability: meanProbability(entity),
      });
    }
  }
  return { names, classes: types.size, outcomes };
}

/**
 * Pairs that are wrong by the share of all pairs between their positions by
 * score and by cosine.
 */
function orderOutcomes(
  { labels }: Targets,
  { predictions }: Predicted,
): Outcomes {
  const byScore = ranks(labels);
  const byCosine = ranks(predictions);
  const outcomes = Array.from(labels, (label, example): Outcome => ({
    example,
    label,
    prediction: predictions[example]!,
    probability: null,
    error: Math.abs(byScore[example]! - byCosine[example]!) / labels.length,
  }));
  return { ...NO_OUTCOMES, outcomes };
}

/** The queries above whose answers another text is ranked. */
function rankingOutcomes(
  { problem: { width }, labels }: Targets,
  { predictions }: Predicted,
): Outcomes {
  const positionOf = (example: number) =>
    rankingAt(predictions, example).position;
  const missed: MissedAnswer[] = [];
  for (const [query, { answers }] of queriesOf(labels, width).entries()) {
    const best = answers.reduce((a, b) =>
      positionOf(b) < positionOf(a) ? b : a
    );
    const { position, wrong } = rankingAt(predictions, best);
    if (position > 1) {
      missed.push({
        query,
        example: best,
        answer: best,
        position,
        firstRanked: wrong,
      });
    }
  }
  return { ...NO_OUTCOMES, missed };
}

/** Texts to which one of another group is nearer than all of theirs. */
function groupOutcomes(
  { problem, labels }: Targets,
  { predictions }: Predicted,
): Outcomes {
  const missed: MissedAnswer[] = [];
  for (let example = 0; example < problem.units(labels); example++) {
    const { position, answer, wrong } = nearestAt(predictions, example);
    if (position === 1) continue;
    const query = example;
    missed.push({ query, example, answer, position, firstRanked: wrong });
  }
  return { ...NO_OUTCOMES, missed };
}
