import { choicesText } from "./choices.ts";
import {
  averageFigure,
  type FigureReference,
  figuresOf,
} from "./figure_names.ts";
import {
  type Column,
  exactPercent,
  plain,
  rankTable,
  table,
  titleOf,
  withInterval,
} from "./format.ts";
import { ABLATION, MEAN, TASKS } from "./published.ts";
import type { Average, Comparison, MethodSummary, Report } from "./report.ts";
import {
  costText,
  differencesText,
  differenceTables,
  recommendationText,
  scoresText,
  speedUpText,
  sweepText,
} from "./tables.ts";

/**
 * Renders a report as Markdown: the verdicts, means over tasks, published
 * results, one section per comparison with its {@linkcode figuresOf}, and ranks
 * chosen per module.
 */
export function renderMarkdown(report: Report): string {
  return [
    "# Report",
    ...report.comparisons.map((it) => verdictText(it, report.comparisons)),
    ...report.averages.flatMap(averageText),
    ...publishedText(report),
    ...report.comparisons.flatMap((comparison) => [
      `## ${plain(comparisonTitle(comparison, report.comparisons))}`,
      ...imageOf(comparison, "scores"),
      ...imageOf(comparison, "cost"),
      ...speedUpText(comparison),
      ...scoresText(comparison),
      ...differencesText(comparison),
      ...recommendationText(comparison),
      ...sweepText(comparison),
      ...costText(comparison),
      ...lossText(comparison),
      "### Settings",
      ...protocolText(comparison),
    ]),
    ...choicesText(report.choices),
  ].join("\n\n") + "\n";
}

/** The verdict on a comparison, after its title if there are several. */
function verdictText(
  comparison: Comparison,
  all: readonly Comparison[],
): string {
  const { verdict } = comparison;
  const of = all.length === 1
    ? ""
    : `${plain(comparisonTitle(comparison, all))}: `;
  return verdict === null
    ? `**${of}No verdict.** No adapter has a score that is defined.`
    : `**${of}${plain(verdict.headline)}** ${plain(verdict.reasons.join(" "))}`;
}

/** Title of a comparison among all, as plain text: with its split if there are several, and with its epoch. */
export function comparisonTitle(
  comparison: Comparison,
  all: readonly Comparison[],
): string {
  const { title, split, epoch } = comparison;
  const hasOthers = all.some((it) =>
    it.title === title && it.epoch === epoch && it.split !== split
  );
  const of = hasOthers ? `, ${split}` : "";
  return `${title}${of}${epochText(comparison)}`;
}

/** The figure of a kind, if the comparison has one. */
function imageOf(
  comparison: Comparison,
  kind: FigureReference["kind"],
): string[] {
  return figuresOf(comparison).filter((figure) => figure.kind === kind)
    .map(imageText);
}

function imageText({ title, name }: FigureReference): string {
  return `![${title}](${name})`;
}

function lossText(comparison: Comparison): string[] {
  const image = imageOf(comparison, "loss");
  return image.length === 0 ? [] : [
    "### Training loss",
    "Each point is the mean over the steps since the previous one.",
    ...image,
  ];
}

function epochText({ epoch }: Pick<Comparison, "epoch">): string {
  return epoch === "best" ? ", best epoch" : "";
}

/** Examples, epoch, seeds, intervals and settings of a comparison. */
function protocolText(comparison: Comparison): string[] {
  const { split, examples, epoch } = comparison;
  return [
    [
      `${examples} examples of the split ${plain(split)}.`,
      ...(epoch === "best"
        ? bestEpochText(comparison)
        : ["The last epoch of each training is evaluated."]),
      `Seeds: ${seedsText(comparison)}.`,
      ...intervalsText(comparison),
    ].join(" "),
    settingsText(comparison),
  ];
}

function bestEpochText({ methods, split, metrics }: Comparison): string[] {
  const splits = [
    ...new Set(methods.flatMap(({ settings }) => settings?.selectedOn ?? [])),
  ];
  return [
    `The best epoch of each training is evaluated: the one with the highest ${
      metrics[0]
    }, averaged over its ranks, on the split ${plain(splits.join(" or "))}.`,
    ...(splits.includes(split)
      ? [
        "The same examples are reported here, so the scores are slightly optimistic.",
      ]
      : []),
  ];
}

function seedsText({ methods }: Comparison): string {
  return sharedText(
    methods,
    ({ ranks }) => new Set(ranks.map(({ seeds }) => seeds.join(", "))),
    "; ",
  );
}

/** Number of seeds below which bootstrap intervals over seeds are noticeably too narrow. */
const FEW_SEEDS = 10;

/** A bootstrap over n values has (n - 1) / n of their variance: none for one value. */
function intervalsText({ methods, confidence }: Comparison): string[] {
  const fewest = ({ ranks }: MethodSummary) =>
    Math.min(...ranks.map(({ seeds }) => seeds.length));
  const single = methods.filter((method) => fewest(method) === 1);
  const several = methods.filter((method) => !single.includes(method));
  const with1 = several.length === 0
    ? "With one seed"
    : `For methods with one seed (${single.map(titleOf).join(", ")})`;
  return [
    `Scores are multiplied by 100. Brackets are ${
      exactPercent(confidence)
    } % bootstrap intervals over examples and seeds.`,
    ...(several.some((method) => fewest(method) < FEW_SEEDS)
      ? [`With fewer than ${FEW_SEEDS} seeds, they are slightly too narrow.`]
      : []),
    ...(single.length > 0
      ? [`${with1}, they do not include the variation between seeds.`]
      : []),
  ];
}

const SETTINGS = [
  ["epochs", "epochs"],
  ["batchSize", "batch size"],
  ["learningRate", "learning rate"],
  ["alpha", "alpha"],
  ["scale", "scale at rank b"],
  ["draws", "ranks drawn"],
  ["precision", "precision"],
  ["engine", "engine"],
] as const;

function settingsText({ methods }: Comparison): string {
  const evaluation = `Evaluation: precision ${
    sharedText(methods, ({ evaluatedIn }) => evaluatedIn)
  }.`;
  const trained = methods.filter(({ settings }) => settings !== null);
  if (trained.length === 0) return evaluation;
  const texts = SETTINGS.flatMap(([key, name]) => {
    const text = sharedText(trained, ({ settings }) => settings![key]);
    return text === "" ? [] : [`${name} ${text}`];
  });
  const started = trained.filter(({ settings }) =>
    settings!.startedFrom.length > 0
  );
  const tasks = new Set(
    started.flatMap(({ settings }) => settings!.startedFrom),
  );
  return [
    `Training: ${texts.join("; ")}.`,
    ...(started.length === 0 ? [] : [
      `Adapters start from trainings on ${
        plain([...tasks].join(", "))
      }, whose costs are not included (${started.map(titleOf).join(", ")}).`,
    ]),
    evaluation,
  ].join(" ");
}

/** Values of a setting, each followed by its methods unless all methods share it. */
function sharedText(
  methods: readonly MethodSummary[],
  valuesOf: (method: MethodSummary) => Iterable<string | number>,
  separator = ", ",
): string {
  const groups = Map.groupBy(
    methods,
    (method) => [...valuesOf(method)].join(" or "),
  );
  groups.delete("");
  return [...groups].map(([value, found]) =>
    groups.size === 1 ? value : `${value} (${found.map(titleOf).join(", ")})`
  ).join(separator);
}

function averageText(average: Average): string[] {
  const { methods, tasks, split, contrasts } = average;
  const columns = methods.filter(({ role }) => role !== "bound")
    .map((method) => ({ title: titleOf(method), ranks: method.ranks }));
  const bounds = methods.filter(({ role }) => role === "bound");
  const names = tasks.map(({ task }) => task).sort();
  const cell = ({ mean, interval }: AverageScore) =>
    withInterval(mean, interval);
  return [
    `## Mean over ${tasks.length} tasks${epochText(average)}`,
    `Split ${plain(split)} of ${
      tasks.map(({ title, metric }) => `${plain(title)} (${metric})`).join(", ")
    }${
      tasks.some(({ task }) => task === "mnli") ? "; MNLI: matched set" : ""
    }.`,
    imageText(averageFigure(average)),
    ...(columns.length === 0
      ? []
      : [rankTable<AverageScore>(columns, cell, "not run")]),
    ...differenceTables(
      methods,
      contrasts,
      (baseline) =>
        `Difference to ${baseline} at the same rank (paired as in each task):`,
    ),
    ...(bounds.length === 0 ? [] : [
      table("Without adapters", bounds, titleOf, [
        { title: "mean", cell: ({ ranks: [score] }) => cell(score!) },
      ]),
    ]),
    ...(names.join() === MEAN.tasks.join() ? [MEAN.text] : []),
  ];
}

type AverageScore = Average["methods"][number]["ranks"][number];

/** Published results to compare with: an ablation, and six GLUE tasks. */
function publishedText({ comparisons }: Report): string[] {
  const parts = [...ablationText(comparisons), ...tasksText(comparisons)];
  return parts.length === 0 ? [] : ["## Published results", ...parts];
}

/** The ablation, if a comparison has several of its ways to draw ranks. */
function ablationText(comparisons: readonly Comparison[]): string[] {
  const { heading, ranks, columns } = ABLATION;
  const isShown = comparisons.some(({ methods }) => {
    const draws = methods.flatMap(({ settings }) => settings?.draws ?? []);
    return columns.filter((it) => draws.includes(it.draws)).length > 1;
  });
  if (!isShown) return [];
  return [
    heading,
    table(
      "Rank",
      ranks,
      String,
      columns.map(({ title, scores }): Column<number> => ({
        title,
        cell: (rank) => scores[ranks.indexOf(rank)]!,
      })),
    ),
  ];
}

function tasksText(comparisons: readonly Comparison[]): string[] {
  const { heading, tasks, rows } = TASKS;
  const titles = new Map(comparisons.map(({ task, title }) => [task, title]));
  if (!tasks.every((task) => titles.has(task))) return [];
  return [
    heading,
    table(
      "Method",
      rows,
      ({ title }) => title,
      tasks.map((task, i): Column<typeof rows[number]> => ({
        title: plain(titles.get(task)!),
        cell: ({ scores }) => scores[i]!,
      })),
    ),
  ];
}
