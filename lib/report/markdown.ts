import { signOf } from "../problems/registry.ts";
import { type FigureReference, figuresOf } from "./figure_names.ts";
import {
  exactPercent,
  formatOf,
  metricInWords,
  plain,
  rankTable,
  titleOf,
} from "./format.ts";
import { settingInWords } from "./methods.ts";
import { classesText, mistakesText } from "./mistakes.ts";
import type {
  Average,
  Comparison,
  Curves,
  MethodSummary,
  MetricScores,
  Report,
} from "./report.ts";
import {
  boundsText,
  costText,
  differencesText,
  differenceTables,
  recommendationText,
  scoresText,
  scoreText,
  sweepText,
} from "./tables.ts";

/**
 * Renders a report as Markdown: the verdicts, means over tasks, and one section
 * per comparison with its {@linkcode figuresOf}.
 */
export function renderMarkdown(report: Report): string {
  return [
    "# Report",
    ...report.comparisons.map((it) => verdictText(it, report.comparisons)),
    ...faultsText(report),
    ...report.averages.flatMap(averageText),
    ...report.comparisons.flatMap((comparison) => [
      `## ${plain(comparisonTitle(comparison, report.comparisons))}`,
      ...imageOf(comparison, "scores"),
      ...mistakesText(comparison),
      ...scoresText(comparison),
      ...thresholdText(comparison),
      ...classesText(comparison),
      ...differencesText(comparison),
      ...recommendationText(comparison),
      ...sweepText(comparison),
      ...costText(comparison, imageOf(comparison, "cost")),
      ...lossText(comparison),
      "### Settings",
      ...protocolText(comparison),
    ]),
  ].join("\n\n") + "\n";
}

/** The verdict on a comparison, after its title if there are several. */
function verdictText(
  comparison: Comparison,
  all: readonly Comparison[],
): string {
  const { headline, statistics } = verdictParts(comparison, all);
  return `${headline} ${statistics}`;
}

/**
 * The two voices of a verdict: a headline after the title of its comparison, if
 * there are several, and the statistics.
 */
export function verdictParts(
  comparison: Comparison,
  all: readonly Comparison[],
): { readonly headline: string; readonly statistics: string } {
  const { verdict } = comparison;
  const of = all.length === 1
    ? ""
    : `${plain(comparisonTitle(comparison, all))}: `;
  if (verdict === null) {
    return {
      headline: `**${of}No verdict.**`,
      statistics: "No adapter has a score that is defined.",
    };
  }
  return {
    headline: `**${of}${plain(verdict.headline)}**`,
    statistics: plain(verdict.reasons.join(" ")),
  };
}

/** The faults of the data, as a list. */
export function faultsText({ faults = [] }: Report): string[] {
  const lines = faults.map((it) => `- ${plain(it)}`);
  return lines.length === 0
    ? []
    : ["**The data have faults:**", lines.join("\n")];
}

/**
 * Title of a comparison among all, as plain text: with its split if there are
 * several, and with its epoch.
 */
function comparisonTitle(
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

/** From which probability labels are predicted, and how it was chosen. */
function thresholdText(
  { threshold, metrics: [metric], mistakes, methods }: Comparison,
): string[] {
  if (threshold === undefined) return [];
  const { values, isBest, labelsPerText, best } = threshold;
  const used = `A label is predicted from a probability of ${
    values.join(" or ")
  } on, which gives a text ${labelsPerText.toFixed(2)} labels on average`;
  if (isBest) {
    return [
      `${used}, the best one for the examples that are scored: the scores are somewhat too high for others.`,
    ];
  }
  const { method, rank } = mistakes;
  const score = formatOf(metric!).value(best.score);
  return [
    `${used}. The best one for these examples is ${best.value}, by which ${
      plain(titleOf(methods[method]!))
    } at rank ${rank} has ${
      metricInWords(metric!)
    } ${score}; somewhat less is to be expected of others.`,
  ];
}

/** The figure of a kind, if there is one. */
function imageOf(curves: Curves, kind: FigureReference["kind"]): string[] {
  return figuresOf(curves).filter((figure) => figure.kind === kind)
    .map(({ title, name }) => `![${title}](${name})`);
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
  const { split, examples, epoch, methods } = comparison;
  const seedsOf = ({ ranks }: MethodSummary) =>
    new Set(ranks.map(({ seeds }) => seeds.join(", ")));
  const seeds = sharedText(methods, seedsOf, "; ");
  return [
    [
      `${examples} examples of the split ${plain(split)}.`,
      ...(epoch === "best"
        ? bestEpochText(comparison)
        : ["The last epoch of each training is evaluated."]),
      `Seeds: ${seeds}.`,
      intervalsText(comparison),
    ].join(" "),
    settingsText(comparison),
  ];
}

function bestEpochText({ methods, split, metrics }: Comparison): string[] {
  const splits = [...new Set(methods.flatMap((it) => it.selectedOn))];
  const best = signOf(metrics[0]!) < 0 ? "lowest" : "highest";
  const on = plain(splits.join(" or "));
  return [
    `The best epoch of each training is evaluated: the one with the ${best} ${
      metricInWords(metrics[0]!)
    }, averaged over its ranks, on the split ${on}.`,
    ...(splits.includes(split)
      ? [
        "The same examples are reported here, so the scores are slightly optimistic.",
      ]
      : []),
  ];
}

/**
 * Explains the intervals. A bootstrap over n values has (n - 1) / n of their
 * variance, so a single seed adds none.
 */
function intervalsText({ confidence }: Comparison): string {
  return `Brackets are ${
    exactPercent(confidence)
  } % intervals by bootstrap over examples and seeds: slightly too narrow with fewer than 10 seeds, and without the variation between seeds where there is one.`;
}

/** Names of settings in a report, where they differ from those in files. */
const NAMES: Readonly<Record<string, string>> = {
  scale: "scale at rank b",
  draws: "ranks drawn",
};

function settingsText({ methods }: Comparison): string {
  const precision = sharedText(methods, ({ evaluatedIn }) => evaluatedIn);
  const evaluation = `Evaluation: precision ${precision}.`;
  const trained = methods.filter(({ settings }) => settings !== null);
  if (trained.length === 0) return evaluation;
  const names = new Set(
    trained.flatMap(({ settings }) => Object.keys(settings!)),
  );
  const texts = [...names].flatMap((name) => {
    const text = sharedText(trained, ({ settings }) => settings![name] ?? []);
    return text === "" ? [] : [settingInWords(NAMES[name] ?? name, text)];
  });
  const started = trained.filter((it) => it.startedFrom.length > 0);
  const tasks = plain(
    [...new Set(started.flatMap((it) => it.startedFrom))].join(", "),
  );
  return [
    `Training: ${texts.join("; ")}.`,
    ...(started.length === 0 ? [] : [
      `Adapters start from trainings on ${tasks}, whose costs are not included (${
        started.map(titleOf).join(", ")
      }).`,
    ]),
    evaluation,
  ].join(" ");
}

/**
 * Values of a setting, each followed by its methods unless all methods share
 * it.
 */
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
  return [...groups].map(([value, group]) =>
    groups.size === 1 ? value : `${value} (${group.map(titleOf).join(", ")})`
  ).join(separator);
}

function averageText(average: Average): string[] {
  const { title, methods, metrics, tasks, split } = average;
  const columns = methods.filter(({ role }) => role !== "bound")
    .map((method) => ({ title: titleOf(method), ranks: method.ranks }));
  const of = tasks.map(({ title, metric }) =>
    `${plain(title)} (${plain(metricInWords(metric))})`
  ).join(", ");
  const isMnli = tasks.some(({ task }) => task === "mnli");
  return [
    `## ${title}${epochText(average)}`,
    `Split ${plain(split)} of ${of}${isMnli ? "; MNLI: matched set" : ""}.`,
    ...imageOf(average, "scores"),
    ...(columns.length === 0 ? [] : [
      rankTable<MetricScores>(
        columns,
        (score) => scoreText(score, metrics[0]!, true),
        "not run",
      ),
    ]),
    ...differenceTables(average),
    ...boundsText(average, null),
  ];
}
