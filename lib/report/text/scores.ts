import type { Comparison, MethodSummary, ScoreSummary } from "../report.ts";
import { type Column, table } from "./table.ts";
import { intervalText, percent, titleOf } from "./words.ts";

/** What each method reaches at each rank, and what is reached without adapters. */
export function scoresText(comparison: Comparison): string[] {
  const [metric, ...others] = comparison.metrics as [string, ...string[]];
  const several = hasSeveralSeeds(comparison);
  const mean = several ? "mean over the seeds" : "one seed";
  const spread = ({ metrics }: ScoreSummary, name: string) => {
    const { deviation } = metrics[name]!;
    return deviation === null ? "" : ` ± ${percent(deviation)}`;
  };
  return [
    "### Scores by rank",
    `**${metric}**, ${mean}:`,
    scoreTable(
      comparison,
      ({ metrics, intervals }) =>
        percent(metrics[metric]!.mean) + intervalText(intervals.mean),
    ),
    ...(several
      ? [
        `**${metric}**, median over the seeds ± their standard deviation:`,
        scoreTable(comparison, (score) =>
          percent(score.metrics[metric]!.median) +
          intervalText(score.intervals.median) + spread(score, metric)),
      ]
      : []),
    ...others.flatMap((other) => [
      `**${other}**, ${mean}${several ? " ± their standard deviation" : ""}:`,
      scoreTable(
        comparison,
        (score) => percent(score.metrics[other]!.mean) + spread(score, other),
      ),
    ]),
    "No rank is filled in: `not run` means that none was trained or evaluated.",
    ...boundsText(comparison),
  ];
}

function hasSeveralSeeds({ methods }: Comparison): boolean {
  return methods.some(({ ranks }) =>
    ranks.some(({ seeds }) => seeds.length > 1)
  );
}

function scoreTable(
  { methods }: Comparison,
  text: (score: ScoreSummary) => string,
): string {
  const curves = methods.filter(({ role }) => role !== "bound");
  const ranks = curves.flatMap((method) =>
    method.ranks.map(({ rank }) => rank)
  );
  const columns = curves.map((method): Column<number> => ({
    title: titleOf(method),
    cell: (rank) => {
      const found = method.ranks.find((other) => other.rank === rank);
      return found === undefined ? "not run" : text(found);
    },
  }));
  return table(
    "Rank",
    [...new Set(ranks)].sort((a, b) => a - b),
    String,
    columns,
  );
}

/** What needs no rank: the most frequent class, and trainings without adapters. */
function boundsText({ methods, metrics, majority }: Comparison): string[] {
  const bounds = methods.filter(({ role }) => role === "bound");
  const rows: [string, (metric: string) => string][] = bounds.map((bound) => [
    titleOf(bound),
    (metric) => boundCell(bound, metric, metric === metrics[0]),
  ]);
  if (majority !== null) {
    rows.unshift([
      "Always the most frequent class",
      (metric) => percent(majority[metric]!),
    ]);
  }
  if (rows.length === 0) return [];
  return [
    table(
      "Without adapters",
      rows,
      ([title]) => title,
      metrics.map((metric) => ({
        title: metric,
        cell: ([, cell]) => cell(metric),
      })),
    ),
  ];
}

function boundCell(
  { ranks: [score] }: MethodSummary,
  metric: string,
  withInterval: boolean,
): string {
  const { mean, deviation } = score!.metrics[metric]!;
  return percent(mean) +
    (withInterval ? intervalText(score!.intervals.mean) : "") +
    (deviation === null ? "" : ` ± ${percent(deviation)}`);
}
