import { percent, plain, table, titleOf } from "./format.ts";
import { type Outcome, type Outcomes, viewOf } from "./problem_views.ts";
import type { Result, Text } from "./result.ts";
import type {
  ClassScore,
  MethodSummary,
  MissedQuery,
  Mistake,
  Mistakes,
} from "./report.ts";
import { resultsAt } from "./summarize.ts";

/** Number of mistakes that a report lists. */
const LISTED = 10;

/**
 * What a method gets wrong at a rank: counts over all its seeds, and the
 * mistakes with the highest probability, or the largest error of a regression,
 * of any seed.
 *
 * @param results Results of the method
 */
export function mistakesOf(
  { method, rank }: { readonly method: number; readonly rank: number },
  results: readonly Result[],
): Mistakes {
  const [first] = results as [Result];
  const { texts } = first;
  const { outcomes } = viewOf(first.problem);
  const outcomesBySeed = resultsAt(results, rank)
    .map((scored) => outcomes(first, scored));
  const { names, classes, areIndependent } = outcomesBySeed[0]!;
  const predicted = outcomesBySeed.flatMap(({ outcomes }) => outcomes);
  const weight = ({ label, prediction, probability, error }: Outcome) =>
    error ?? probability ?? Math.abs(prediction - label);
  const wrong = predicted.filter((it) => it.prediction !== it.label)
    .sort((a, b) => weight(b) - weight(a) || a.example - b.example);
  const nameOf = (label: number) => names[label] ?? label;
  const perExample = Map.groupBy(wrong, ({ example }) => example).values();
  const worst = [...perExample].slice(0, LISTED).map(([mistake]): Mistake => {
    const { error: _, ...shown } = mistake!;
    return {
      ...shown,
      label: nameOf(shown.label),
      prediction: nameOf(shown.prediction),
      ...(texts && shownText(texts[shown.example]!, shown.words)),
    };
  });
  const counts = {
    method,
    rank,
    classes: classes > 0 ? classScores(names, classes, predicted) : null,
    ...areIndependent && { areIndependent },
    ...missedOf(outcomesBySeed, first),
  };
  const others = names.slice(classes);
  return others.length === 0
    ? { ...counts, worst }
    : { ...counts, others, worst };
}

/**
 * The queries whose first right answer has the lowest position, of any seed;
 * and how many there are over all seeds.
 */
function missedOf(
  outcomesBySeed: readonly Outcomes[],
  { texts, labels, problem }: Result,
): Pick<Mistakes, "missed" | "missedCount"> {
  const all = outcomesBySeed.flatMap(({ missed }) => missed ?? []);
  if (outcomesBySeed[0]!.missed === undefined) return {};
  const worst = all.toSorted((a, b) =>
    b.position - a.position || a.query - b.query
  );
  const perQuery = Map.groupBy(worst, ({ query }) => query).values();
  const missed = [...perQuery].slice(0, LISTED).map(([it]): MissedQuery => {
    const { position, example, answer, firstRanked } = it!;
    if (texts === undefined) return { position };
    return {
      position,
      query: texts[example]!.text,
      answer: texts[answer]!.others![0]!,
      firstRanked: texts[firstRanked]!.others![0]!,
    };
  });
  const queries = problem.units(labels) * outcomesBySeed.length;
  return { missed, missedCount: { missed: all.length, queries } };
}

/** Maximum number of characters of a text in a table. */
const MAX_TEXT = 160;

/** Maximum number of characters before what is marked in a longer text. */
const MAX_BEFORE = 60;

/**
 * A text, with the words that a mistake is about in brackets; a long one starts
 * shortly before them.
 */
function shownText(
  { text, pair, words, others }: Text,
  marked: Outcome["words"],
): Pick<Mistake, "text" | "pair"> {
  if (words === undefined || marked === undefined) {
    const second = pair ?? others?.[0];
    return second === undefined ? { text } : { text, pair: second };
  }
  const start = words[marked.start]![0];
  const end = words[marked.end - 1]![1];
  const from = text.length > MAX_TEXT ? Math.max(0, start - MAX_BEFORE) : 0;
  const before = text.slice(from, start).replace(/^[\uDC00-\uDFFF]/, "");
  return {
    text: `${from > 0 ? "…" : ""}${before}[${text.slice(start, end)}]${
      text.slice(end)
    }`,
  };
}

/**
 * Rows of the confusion matrix, with scores that equal scikit-learn's, where
 * `zero_division` is 0.
 */
function classScores(
  names: readonly string[],
  classes: number,
  predicted: readonly { readonly label: number; readonly prediction: number }[],
): ClassScore[] {
  const counts = names.map(() => names.map(() => 0));
  for (const { label, prediction } of predicted) counts[label]![prediction]!++;
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const share = (part: number, whole: number) => whole && part / whole;
  return names.slice(0, classes).map((name, i) => {
    const hits = counts[i]![i]!;
    const examples = sum(counts[i]!);
    const marked = sum(counts.map((row) => row[i]!));
    return {
      name,
      predicted: counts[i]!,
      precision: share(hits, marked),
      recall: share(hits, examples),
      f1: share(2 * hits, marked + examples),
    };
  });
}

/** A method and what it gets wrong at a rank. */
interface MistakenMethods {
  readonly methods: readonly MethodSummary[];
  readonly mistakes: Mistakes;
}

/** The worst mistakes. */
export function mistakesText({ methods, mistakes }: MistakenMethods): string[] {
  const { method, rank, classes, worst, missed, missedCount } = mistakes;
  const title = `### Mistakes of ${ofMethodAt(methods[method]!, rank)}`;
  if (missed !== undefined && missedCount !== undefined) {
    return [title, ...missedText(missed, missedCount)];
  }
  // Texts to write are scored token by token, not as right or wrong.
  if (classes === null && worst.length === 0) return [];
  if (worst.length === 0) return [title, "There are no mistakes."];
  const listed = classes === null
    ? "The largest errors"
    : "The most confident mistakes";
  const of = ofSeeds(methods[method]!, rank);
  const once = of === "" ? "" : ", each example once";
  return [title, `${listed}${of}${once}:`, worstTable(worst)];
}

/** Queries with their answers, and what is ranked above these. */
function missedText(
  missed: readonly MissedQuery[],
  { missed: count, queries }: NonNullable<Mistakes["missedCount"]>,
): string[] {
  if (count === 0) {
    return [`An answer is ranked first for all of ${queries} queries.`];
  }
  const counts =
    `For ${count} of ${queries} queries, a text that is none of their answers is ranked first.`;
  if (missed[0]!.query === undefined) return [counts];
  return [
    `${counts} Those whose first answer has the lowest position:`,
    table(
      ["Position", "Query", "Answer", "Ranked first"],
      missed.map(({ position, query, answer, firstRanked }) => [
        String(position),
        ...[query, answer, firstRanked].map((text) => cut(text!)),
      ]),
      ["Query", "Answer", "Ranked first"],
    ),
  ];
}

/**
 * A text for a cell, without what is beyond {@linkcode MAX_TEXT} characters.
 */
function cut(text: string): string {
  return plain(
    text.length <= MAX_TEXT
      ? text
      : `${text.slice(0, MAX_TEXT).replace(/[\uD800-\uDBFF]$/, "")}…`,
  );
}

/** Scores by class with the confusion matrix. */
export function classesText({ methods, mistakes }: MistakenMethods): string[] {
  const { method, rank, classes, others, areIndependent } = mistakes;
  if (classes === null) return [];
  const of = ofSeeds(methods[method]!, rank);
  const together = of === "" ? "" : `, the predictions${of} together`;
  if (areIndependent) {
    return [
      `### Labels by ${ofMethodAt(methods[method]!, rank)}`,
      labelTable(classes),
      `Each row counts the examples that have a label, and those of them for which it was not predicted${together}.`,
    ];
  }
  return [
    `### Classes by ${ofMethodAt(methods[method]!, rank)}`,
    classTable(classes, others),
    `Each row counts what the examples of a class were predicted as${together}.`,
  ];
}

/** ` of 3 seeds`; empty for one. */
function ofSeeds({ ranks }: MethodSummary, rank: number): string {
  const { seeds } = ranks.find((it) => it.rank === rank)!;
  return seeds.length === 1 ? "" : ` of ${seeds.length} seeds`;
}

/** `DyLoRA at rank 8` */
function ofMethodAt(method: MethodSummary, rank: number): string {
  return rank === 0 ? titleOf(method) : `${titleOf(method)} at rank ${rank}`;
}

/** Number of classes above which the matrix is shown by its largest counts. */
const MAX_COLUMNS = 8;

/** Scores of labels of which an example may have several. */
function labelTable(classes: NonNullable<Mistakes["classes"]>): string {
  return table(
    ["Label", "Precision", "Recall", "F1", "Examples", "Missed"],
    classes.map(({ name, precision, recall, f1, predicted }, index) => {
      const examples = predicted.reduce((a, b) => a + b, 0);
      const missed = examples - predicted[index]!;
      return [
        plain(name),
        ...[precision, recall, f1].map(percent),
        String(examples),
        String(missed),
      ];
    }),
  );
}

function classTable(
  classes: NonNullable<Mistakes["classes"]>,
  others: readonly string[] = [],
): string {
  const names = [...classes.map(({ name }) => name), ...others];
  const isWide = classes.length > MAX_COLUMNS;
  const mistaken = (counts: readonly number[], index: number) =>
    counts.map((count, i) => ({ count, name: names[i]!, i }))
      .filter(({ count, i }) => count > 0 && i !== index)
      .sort((a, b) => b.count - a.count).slice(0, 3)
      .map(({ count, name }) => `${plain(name)} ${count}`).join(", ");
  return table(
    [
      "Class",
      "Precision",
      "Recall",
      "F1",
      ...(isWide
        ? ["Examples", "Mistaken for"]
        : names.map((name) => `as ${plain(name)}`)),
    ],
    classes.map(({ name, precision, recall, f1, predicted }, index) => [
      plain(name),
      ...[precision, recall, f1].map(percent),
      ...(isWide
        ? [
          String(predicted.reduce((a, b) => a + b, 0)),
          mistaken(predicted, index),
        ]
        : predicted.map(String)),
    ]),
  );
}

function worstTable(worst: readonly Mistake[]): string {
  const shown = (value: string | number) =>
    typeof value === "string"
      ? plain(value)
      : String(Number(value.toPrecision(4)));
  type Column = [title: string, valueOf: (mistake: Mistake) => string | null];
  const columns = ([
    ["Example", ({ example }) => String(example + 1)],
    ["Label", ({ label }) => shown(label)],
    ["Predicted", ({ prediction }) => shown(prediction)],
    ["Probability", ({ probability: it }) => it === null ? null : percent(it)],
    ["Text", ({ text }) => text === undefined ? null : cut(text)],
    ["Pair", ({ pair }) => pair === undefined ? null : cut(pair)],
  ] satisfies Column[]).filter(([, valueOf]) => valueOf(worst[0]!) !== null);
  return table(
    columns.map(([title]) => title),
    worst.map((mistake) => columns.map(([, valueOf]) => valueOf(mistake)!)),
    ["Text", "Pair"],
  );
}
