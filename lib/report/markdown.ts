import { figureName, methodTitle, percent, plain, rankList } from "./words.ts";
import type { Comparison, Contrast, MethodSummary, Report } from "./report.ts";

/** A report as Markdown: for each task its scores by rank, its costs, and the rank to take. */
export function renderMarkdown(report: Report): string {
  const parts = report.comparisons.flatMap((comparison) => [
    `## ${plain(comparison.title)}`,
    `${comparison.examples} examples of the split ${plain(comparison.split)}.`,
    `![Scores by rank](${figureName(comparison)})`,
    scoreTable(comparison),
    scoreNotes(comparison),
    costTable(comparison),
    costNotes(comparison),
    ...comparison.methods.flatMap(recommendationText),
  ]);
  return ["# Report", ...parts].join("\n\n") + "\n";
}

function scoreTable(comparison: Comparison): string {
  const { methods, metrics, contrasts } = comparison;
  const ranks = [
    ...new Set(
      methods.flatMap((method) => method.ranks.map(({ rank }) => rank)),
    ),
  ].sort((a, b) => a - b);
  const columns = methods.flatMap((method) =>
    metrics.map((metric, i) => ({
      title: `${titleOf(method)}, ${metric}`,
      cell: (rank: number) => scoreCell(method, rank, metric, i === 0),
    }))
  );
  const differences = contrasts.map((contrast) => ({
    title: contrastTitle(comparison, contrast),
    cell: (rank: number) => differenceCell(contrast, rank),
  }));
  const all = [...columns, ...differences];
  return table(
    ["Rank", ...all.map(({ title }) => title)],
    ranks.map((rank) => [String(rank), ...all.map(({ cell }) => cell(rank))]),
  );
}

function scoreCell(
  method: MethodSummary,
  rank: number,
  metric: string,
  withInterval: boolean,
): string {
  const found = method.ranks.find((other) => other.rank === rank);
  if (found === undefined) return "not run";
  const { mean, deviation } = found.metrics[metric]!;
  const spread = deviation === null ? "" : ` ± ${percent(deviation)}`;
  return percent(mean) + spread +
    (withInterval ? intervalText(found.interval) : "");
}

function differenceCell({ ranks }: Contrast, rank: number): string {
  const found = ranks.find((other) => other.rank === rank);
  return found === undefined
    ? ""
    : signed(found.difference) + intervalText(found.interval, signed);
}

function scoreNotes({ methods, metrics, confidence }: Comparison): string {
  const seeds = Math.max(
    ...methods.flatMap(({ ranks }) => ranks.map(({ seeds }) => seeds.length)),
  );
  return [
    "All scores times 100.",
    seeds > 1
      ? `A score is the mean over the seeds (at most ${seeds}) ± their standard deviation.`
      : "One seed.",
    `Brackets: ${percent(confidence, 0)} % interval of the ${
      metrics[0]
    }, by bootstrap over examples and seeds.`,
    "No rank is filled in: `not run` means that none was trained or evaluated.",
  ].join(" ");
}

function costTable({ methods }: Comparison): string {
  const row = (title: string, cell: (method: MethodSummary) => string) => [
    title,
    ...methods.map(cell),
  ];
  return table(["Cost", ...methods.map(titleOf)], [
    row("Ranks", ({ cost }) => rankList(cost.ranks)),
    row("Trainings", ({ cost }) => String(cost.trainings)),
    row("Optimizer steps", ({ cost }) => String(Math.round(cost.steps))),
    row("Examples trained on", ({ cost }) => String(Math.round(cost.examples))),
    row("Seconds per step", ({ cost }) => significant(cost.stepSeconds)),
    row("Training, seconds", ({ cost }) => significant(cost.trainingSeconds)),
    row(
      "Evaluation, seconds",
      ({ cost }) => significant(cost.evaluationSeconds),
    ),
    row("Whole sweep, seconds", ({ cost }) => significant(cost.sweepSeconds)),
  ]);
}

function costNotes(comparison: Comparison): string {
  const lines = comparison.contrasts.map(({ candidate, baseline, speedUp }) => {
    const [ours, theirs] = [candidate, baseline]
      .map((place) => comparison.methods[place]!) as [
        MethodSummary,
        MethodSummary,
      ];
    const times = (ratio: number) => `${ratio.toFixed(2)}x`;
    return `**Speed-up ${times(speedUp.sweep)}**: the sweep of ${
      titleOf(theirs)
    } over ${rankList(theirs.cost.ranks)} took ${
      times(speedUp.sweep)
    } the time of ${titleOf(ours)} for ${
      rankList(ours.cost.ranks)
    } (training alone ${times(speedUp.training)}, examples trained on ${
      times(speedUp.examples)
    }).`;
  });
  return [
    "Times are those measured when each stage ran, added up; a sweep over several seeds counts as their mean.",
    ...lines,
    ...(comparison.task === "mrpc" && lines.length > 0 ? [PAPER_MRPC] : []),
  ].join("\n\n");
}

const PAPER_MRPC =
  "The DyLoRA paper (arXiv 2210.07558, appendix A) reports 7.83x for the training on MRPC with RoBERTa-base: 408.39 s for DyLoRA with all of 8 ranks against 8 x 399.95 s for LoRA.";

function recommendationText(method: MethodSummary): string[] {
  const { recommendation, elbow, area, ranks } = method;
  if (method.role !== "candidate" || ranks.length < 2) return [];
  const title = titleOf(method);
  const lines = [
    `Mean over the range of ranks (area under the rank curve), ${title}: ${
      percent(area.value)
    }${intervalText(area.interval)}.`,
  ];
  if (recommendation !== null) {
    const { rank, best, margin, confidence, evidence } = recommendation;
    lines.unshift(
      `**Recommended rank of ${title}: ${rank}**, the smallest that is not worse than the best one (${best}) by more than ${
        percent(margin)
      } points, at ${percent(confidence, 0)} % confidence.${
        elbow === null ? "" : ` The curve's elbow is at rank ${elbow}.`
      }`,
      table(
        ["Rank", "Below the best", "At most", "Enough"],
        evidence.map(({ rank, loss, bound, sufficient }) => [
          String(rank),
          percent(loss),
          percent(bound),
          sufficient ? "yes" : "no",
        ]),
      ),
    );
  }
  return lines;
}

function titleOf(method: MethodSummary): string {
  return plain(methodTitle(method));
}

function contrastTitle(
  { methods }: Comparison,
  { candidate, baseline }: Contrast,
): string {
  return `${titleOf(methods[candidate]!)} less ${titleOf(methods[baseline]!)}`;
}

function intervalText(
  interval: readonly [number, number] | null,
  text: (value: number) => string = percent,
): string {
  return interval === null
    ? ""
    : ` [${interval.map((end) => text(end)).join(", ")}]`;
}

function signed(value: number | null): string {
  const text = percent(value);
  return value !== null && value > 0 ? `+${text}` : text;
}

/** Three significant digits, without an exponent. */
function significant(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

function table(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(header), line(header.map(() => "---")), ...rows.map(line)]
    .join("\n");
}
