import { signOf } from "../problems/registry.ts";
import {
  capitalized,
  exactPercent,
  formatOf,
  metricInWords,
  metricTitle,
  plain,
  type RankColumn,
  rankList,
  rankTable,
  significant,
  table,
  titleOf,
  withInterval,
} from "./format.ts";
import { ranksOf } from "./methods.ts";
import { eachAxis } from "./statistics.ts";
import { paddingOf } from "./problem_views.ts";
import type {
  Comparison,
  CostSummary,
  Curves,
  MethodSummary,
  MetricScores,
  ScoreDifference,
} from "./report.ts";

/** Scores by rank, and the scores of the majority class and the bounds. */
export function scoresText(comparison: Comparison): string[] {
  const { methods, metrics } = comparison;
  const several = methods.some(({ ranks }) =>
    ranks.some(({ seeds }) => seeds.length > 1)
  );
  const of = several ? "mean over seeds ± standard deviation" : "one seed";
  const curves = methods.filter(({ role }) => role !== "bound");
  if (curves.length === 0) {
    return ["### Scores", ...boundsText(comparison, comparison.majority)];
  }
  const columns = curves.map((method): RankColumn<MetricScores> => ({
    title: titleOf(method),
    ranks: method.ranks,
    areas: method.ranks.length > 1
      ? eachAxis((axis) => {
        const { value, interval } = method.areas[axis];
        return { metrics: { [metrics[0]!]: { mean: value } }, interval };
      })
      : null,
  }));
  return [
    "### Scores by rank",
    ...metrics.flatMap((metric, i) => [
      `**${plain(capitalized(metricTitle(metric, comparison)))}**, ${of}:`,
      rankTable(
        i === 0 ? columns : columns.map((it) => ({ ...it, areas: null })),
        (score) => scoreText(score, metric, i === 0),
        "not run",
      ),
    ]),
    ...(curves.every(({ ranks }) => ranks.length === ranksOf(curves).length)
      ? []
      : ["`not run`: no adapter of this rank was trained or evaluated."]),
    ...boundsText(comparison, comparison.majority),
  ];
}

/**
 * A metric with its spread over seeds, and with its interval if it has one, as
 * the main one does.
 */
export function scoreText(
  { metrics, interval }: MetricScores,
  metric: string,
  isMain: boolean,
): string {
  const score = metrics[metric]!;
  const { mean, deviation = null } = score;
  const { value } = formatOf(metric);
  const shownInterval = isMain ? interval : score.interval ?? null;
  const spread = deviation === null ? "" : ` ± ${value(deviation)}`;
  return withInterval(mean, shownInterval, value) + spread;
}

/** Scores of the majority class and of the methods without adapters. */
export function boundsText(
  curves: Curves,
  majority: Comparison["majority"],
): string[] {
  const { methods, metrics } = curves;
  const rows = methods.filter(({ role }) => role === "bound").map((bound) => {
    const score: MetricScores = bound.ranks[0]!;
    return [
      titleOf(bound),
      ...metrics.map((metric, i) => scoreText(score, metric, i === 0)),
    ];
  });
  if (majority !== null) {
    const scores = metrics.map((metric) =>
      formatOf(metric).value(majority[metric]!)
    );
    rows.unshift(["Majority class", ...scores]);
  }
  return rows.length === 0 ? [] : [
    table([
      "Without adapters",
      ...metrics.map((metric) => plain(metricTitle(metric, curves))),
    ], rows),
  ];
}

/** Differences to each baseline by rank. */
export function differencesText(comparison: Comparison): string[] {
  const tables = differenceTables(comparison);
  return tables.length === 0 ? [] : ["### Differences", ...tables];
}

/**
 * One table per baseline, with one column per candidate, each after its
 * heading.
 */
export function differenceTables(
  { methods, metrics, contrasts }: Curves,
): string[] {
  const [metric] = metrics;
  const shared = contrasts.filter(({ ranks }) => ranks.length > 0);
  return [...Map.groupBy(shared, ({ baseline }) => baseline)].flatMap(
    ([baseline, group]) => [
      `**${differenceTitle(metric!)}** to ${
        titleOf(methods[baseline]!)
      } at the same rank (paired by example, and by seed where both have the same):`,
      rankTable<ScoreDifference>(
        group.map(({ candidate, ranks, areas }) => ({
          title: titleOf(methods[candidate]!),
          ranks,
          areas,
        })),
        (it) =>
          withInterval(it.difference, it.interval, formatOf(metric!).signed),
        "",
      ),
    ],
  );
}

/** `Difference of accuracy (points)` */
function differenceTitle(metric: string): string {
  const unit = formatOf(metric).factor === 100 ? " (points)" : "";
  return `Difference of ${plain(metricInWords(metric))}${unit}`;
}

/** The recommended rank of each candidate that serves several. */
export function recommendationText(
  { methods, metrics, verdict }: Comparison,
): string[] {
  const { amount, exact } = formatOf(metrics[0]!);
  const recommended = methods.flatMap((method) => {
    const { role, recommendation, ranks } = method;
    const isShown = role === "candidate" && ranks.length > 1;
    return recommendation !== null && isShown
      ? [{ title: titleOf(method), ...recommendation }]
      : [];
  });
  if (recommended.length === 0) return [];
  return [
    "### Recommended rank",
    ...(verdict?.kind === "nothing-learnt"
      ? [plain(verdict.headline)]
      : recommended.map(({ title, rank, best, margin, confidence }) => {
        const short = amount(margin, exact);
        const level = exactPercent(confidence);
        const side = signOf(metrics[0]!) < 0 ? "above" : "below";
        return `**Recommended rank of ${title}: ${rank}**, the smallest rank that scores at most ${short} ${side} the best rank (${best}), at ${level} % confidence.`;
      })),
  ];
}

/**
 * What taking the recommended rank loses against the rank that a sweep of a
 * baseline recommends.
 */
export function sweepText(
  { methods, metrics, contrasts, verdict }: Comparison,
): string[] {
  const [metric] = metrics;
  const { signed } = formatOf(metric!);
  const rows = contrasts.flatMap(({ candidate, baseline, recommended: it }) =>
    it === null || verdict?.kind === "nothing-learnt" ? [] : [[
      `${titleOf(methods[candidate]!)}, rank ${it.candidate}`,
      `${titleOf(methods[baseline]!)}, rank ${it.baseline}`,
      withInterval(it.difference, it.interval, signed),
    ]]
  );
  return rows.length === 0 ? [] : [
    "### Against the rank that a sweep recommends",
    `**${
      differenceTitle(metric!)
    }** at the recommended rank, against a method trained at every rank, at the rank that this recommends:`,
    table(["Method", "Sweep", "Difference"], rows),
  ];
}

const tera = (flops: number) => significant(flops / 1e12);

/** Rows of the cost table; a row is left out if it is 0 for all methods. */
const COSTS: readonly (readonly [string, (cost: CostSummary) => string])[] = [
  ["Ranks", ({ ranks }) => rankList(ranks)],
  ["Trainings", ({ trainings }) => String(trainings)],
  ["Optimizer steps", ({ steps }) => String(Math.round(steps))],
  ["Training examples", ({ examples }) => String(Math.round(examples))],
  ["Seconds per step", (it) => significant(it.stepSeconds)],
  ["Training (s)", (it) => significant(it.trainingSeconds)],
  ["Epoch selection (s)", (it) => significant(it.selectionSeconds)],
  ["Reduction and heads (s)", (it) => significant(it.reductionSeconds)],
  ["Evaluation (s)", (it) => significant(it.evaluationSeconds)],
  ["Whole sweep (s)", (it) => significant(it.sweepSeconds)],
  ["Training (TFLOP)", (it) => tera(it.trainingFlops)],
  ["Epoch selection (TFLOP)", (it) => tera(it.selectionFlops)],
  ["Heads (TFLOP)", (it) => tera(it.reductionFlops)],
  ["Evaluation (TFLOP)", (it) => tera(it.evaluationFlops)],
  ["Whole sweep (TFLOP)", (it) => tera(it.sweepFlops)],
];

/**
 * Costs of each method's sweep, and the baselines' costs as multiples of the
 * candidates'.
 *
 * @param images The figure of the costs, if there is one
 */
export function costText(
  comparison: Comparison,
  images: readonly string[],
): string[] {
  const costs = comparison.methods.flatMap((method) =>
    method.cost === null ? [] : [{ title: titleOf(method), cost: method.cost }]
  );
  if (costs.length === 0) return [];
  const machines = new Set(costs.flatMap(({ cost }) => cost.machines));
  const of = costs.map(({ title, cost }) =>
    `${title}: ${cost.machines.map(plain).join("; ") || "not recorded"}`
  ).join(". ");
  const ratios = speedUps(comparison);
  const padding = paddingOf(comparison.metrics[0]!);
  return [
    "### Costs",
    ...images,
    table(
      ["Cost", ...costs.map(({ title }) => title)],
      COSTS.map(([title, text]) => [title, ...costs.map((it) => text(it.cost))])
        .filter(([, ...texts]) => texts.some((text) => text !== "0")),
    ),
    `A sweep trains and evaluates a method at all its ranks. Seconds are sums of the times measured when each stage ran: of training with reading the data, and of the whole stages of evaluation and reduction. Costs are means over seeds. One TFLOP is 10^12 floating-point operations, counted from the shapes of the matrix products ${padding}; a reduction counts as 0.`,
    ...machines.size < 2 ? [] : [
      `Their seconds were measured on several machines, and are divided only where one computed both: ${of}.`,
    ],
    ...ratios.length === 0 ? [] : [table(SPEED_UPS, ratios)],
  ];
}

/** Columns of the table of speed-ups. */
const SPEED_UPS = [
  "Speed-up",
  "Sweep (s)",
  "Training (s)",
  "Sweep (FLOP)",
  "Training (FLOP)",
  "Training examples",
];

/**
 * Rows of the table of speed-ups: what is compared, and the ratios of costs;
 * those of seconds are unknown for several machines.
 */
function speedUps({ methods, contrasts }: Comparison): string[][] {
  const withRanks = (method: MethodSummary, ranks: readonly number[]) =>
    `${titleOf(method)}, ${plain(rankList(ranks))}`;
  return contrasts.flatMap(({ candidate, baseline, speedUp }) => {
    if (speedUp === null) return [];
    const ours = methods[candidate]!;
    const theirs = methods[baseline]!;
    const ratios = [
      speedUp.sweep,
      speedUp.training,
      speedUp.sweepFlops,
      speedUp.trainingFlops,
      speedUp.examples,
    ];
    return [[
      `${withRanks(theirs, speedUp.ranks)} / ${
        withRanks(ours, ours.cost!.ranks)
      }`,
      ...ratios.map((ratio) =>
        ratio === null ? "unknown" : `${ratio.toFixed(2)}x`
      ),
    ]];
  });
}
