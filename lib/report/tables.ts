import {
  type Column,
  exactPercent,
  intervalText,
  percent,
  plain,
  rankList,
  signed,
  significant,
  table,
  titleOf,
} from "./format.ts";
import type {
  Comparison,
  Contrast,
  CostSummary,
  MethodSummary,
  ScoreSummary,
} from "./report.ts";

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

/** How much better or worse candidates are than each baseline, rank by rank: one table for each baseline. */
export function differencesText(
  { methods, metrics, contrasts }: Comparison,
): string[] {
  const parts = [...Map.groupBy(contrasts, ({ baseline }) => baseline)]
    .flatMap(([place, found]) => {
      const shared = found.filter(({ ranks }) => ranks.length > 0);
      if (shared.length === 0) return [];
      const title = titleOf(methods[place]!);
      return [
        `${metrics[0]} less that of ${title} at the same rank, ${
          pairingText(methods, shared)
        }:`,
        differenceTable(
          shared,
          ({ candidate }) => titleOf(methods[candidate]!),
        ),
      ];
    });
  return parts.length === 0 ? [] : ["### Differences", ...parts];
}

/** Replicates share examples always, and seeds where both methods have the same. */
function pairingText(
  methods: readonly MethodSummary[],
  contrasts: readonly Contrast[],
): string {
  const seedsAt = (place: number, rank: number) =>
    methods[place]!.ranks.find((other) => other.rank === rank)!.seeds.join();
  const unpaired = contrasts.filter(({ candidate, baseline, ranks }) =>
    ranks.some(({ rank }) =>
      seedsAt(candidate, rank) !== seedsAt(baseline, rank)
    )
  );
  if (unpaired.length === 0) return "paired by example and seed";
  const others = unpaired.length === contrasts.length
    ? ""
    : `, and by seed but for ${
      unpaired.map(({ candidate }) => titleOf(methods[candidate]!)).join(", ")
    }`;
  return `paired by example${others} (other seeds were trained on either side)`;
}

/** A row for each rank, a column for each candidate. */
export function differenceTable<
  T extends Pick<Contrast, "ranks"> & Partial<Pick<Contrast, "area">>,
>(
  contrasts: readonly T[],
  title: (contrast: T) => string,
): string {
  const ranks = new Set(
    contrasts.flatMap(({ ranks }) => ranks.map(({ rank }) => rank)),
  );
  const rows: (number | "all")[] = [...ranks].sort((a, b) => a - b);
  if (contrasts.some(({ area }) => area)) rows.push("all");
  const columns = contrasts.map((contrast): Column<number | "all"> => ({
    title: title(contrast),
    cell: (row) => {
      const found = row === "all"
        ? contrast.area
        : contrast.ranks.find(({ rank }) => rank === row);
      return found
        ? signed(found.difference) + intervalText(found.interval, signed)
        : "";
    },
  }));
  return table(
    "Rank",
    rows,
    (row) => row === "all" ? "mean over these" : String(row),
    columns,
  );
}

/** The score over all ranks of each method, and the rank to take of each candidate, with the evidence. */
export function recommendationText({ methods, metrics }: Comparison): string[] {
  const curves = methods.filter(({ role, ranks }) =>
    role !== "bound" && ranks.length > 1
  );
  if (curves.length === 0) return [];
  return [
    "### Rank to take",
    ...curves.flatMap(sentence),
    table("Over all ranks", curves, titleOf, [
      { title: "Ranks", cell: ({ ranks }) => rankList(rankNumbers(ranks)) },
      {
        title: `Mean ${metrics[0]} (area under the curve)`,
        cell: ({ area }) => percent(area.value) + intervalText(area.interval),
      },
      {
        title: "Elbow",
        cell: ({ elbow }) => elbow === null ? "none" : `rank ${elbow}`,
      },
    ]),
    ...curves.flatMap(evidence),
  ];
}

function sentence(method: MethodSummary): string[] {
  const { recommendation, role } = method;
  if (role !== "candidate" || recommendation === null) return [];
  const { rank, best, margin, confidence } = recommendation;
  return [
    `**Recommended rank of ${
      titleOf(method)
    }: ${rank}**, the smallest that is not worse than the best one (${best}) by more than ${
      exactPercent(margin)
    } points, at ${exactPercent(confidence)} % confidence.`,
  ];
}

function evidence(method: MethodSummary): string[] {
  const { recommendation, role } = method;
  if (role !== "candidate" || recommendation === null) return [];
  return [
    table(
      titleOf(method),
      recommendation.evidence,
      ({ rank }) => `rank ${rank}`,
      [
        { title: "Below the best", cell: ({ loss }) => percent(loss) },
        { title: "At most", cell: ({ bound }) => percent(bound) },
        {
          title: "Enough",
          cell: ({ sufficient }) => sufficient ? "yes" : "no",
        },
      ],
    ),
  ];
}

function rankNumbers(ranks: readonly { readonly rank: number }[]): number[] {
  return ranks.map(({ rank }) => rank);
}

type Costly = MethodSummary & { readonly cost: CostSummary };

/** What the sweep of each method took, and how many times as much a sweep of LoRA takes. */
export function costText(comparison: Comparison): string[] {
  const methods = comparison.methods.filter((method): method is Costly =>
    method.cost !== null
  );
  if (methods.length === 0) return [];
  return [
    "### Costs",
    costTable(methods),
    "Times are those measured when each stage ran, added up: of a training from the reading of its data on, of an evaluation or a reduction the whole stage; a sweep over several seeds counts as their mean. A TFLOP is 10^12 floating-point operations, counted from the shapes of the matrix products, padding included; a reduction has none to speak of.",
    ...speedUpText(comparison),
  ];
}

/** A kind of cost; one that is 0 everywhere is left out. */
interface CostRow {
  readonly title: string;
  readonly text: (cost: CostSummary) => string;
}

const ROWS: readonly CostRow[] = [
  { title: "Ranks", text: ({ ranks }) => rankList(ranks) },
  { title: "Trainings", text: ({ trainings }) => String(trainings) },
  { title: "Optimizer steps", text: ({ steps }) => rounded(steps) },
  { title: "Examples trained on", text: ({ examples }) => rounded(examples) },
  { title: "Seconds per step", text: (it) => significant(it.stepSeconds) },
  {
    title: "Training, seconds",
    text: (it) => significant(it.trainingSeconds),
  },
  {
    title: "Choice of the epoch, seconds",
    text: (it) => significant(it.selectionSeconds),
  },
  {
    title: "Reduction, seconds",
    text: (it) => significant(it.reductionSeconds),
  },
  {
    title: "Evaluation, seconds",
    text: (it) => significant(it.evaluationSeconds),
  },
  { title: "Whole sweep, seconds", text: (it) => significant(it.sweepSeconds) },
  { title: "Training, TFLOP", text: (it) => tera(it.trainingFlops) },
  {
    title: "Choice of the epoch, TFLOP",
    text: (it) => tera(it.selectionFlops),
  },
  { title: "Evaluation, TFLOP", text: (it) => tera(it.evaluationFlops) },
  { title: "Whole sweep, TFLOP", text: (it) => tera(it.sweepFlops) },
];

function costTable(methods: readonly Costly[]): string {
  const columns = methods.map((method): Column<CostRow> => ({
    title: titleOf(method),
    cell: ({ text }) => text(method.cost),
  }));
  const rows = ROWS.filter(({ text }) =>
    methods.some(({ cost }) => text(cost) !== "0")
  );
  return table("Cost", rows, ({ title }) => title, columns);
}

/** One line of the table of speed-ups. */
interface SpeedUpRow {
  readonly title: string;
  readonly sweep: string;
  readonly training: string;
  readonly trainingFlops: string;
  readonly sweepFlops: string;
  readonly examples: string;
}

function speedUpText({ task, methods, contrasts }: Comparison): string[] {
  const rows = contrasts.flatMap(({ candidate, baseline, speedUp }) => {
    if (speedUp === null) return [];
    const [ours, theirs] = [methods[candidate]!, methods[baseline]!];
    return [{
      title: `${withRanks(theirs, speedUp.ranks)} / ${
        withRanks(ours, ours.cost!.ranks)
      }`,
      sweep: times(speedUp.sweep),
      training: times(speedUp.training),
      sweepFlops: times(speedUp.sweepFlops),
      trainingFlops: times(speedUp.trainingFlops),
      examples: times(speedUp.examples),
    }];
  });
  const [first] = rows;
  if (first === undefined) return [];
  const published = task === "mrpc" ? [PAPER_MRPC] : [];
  return [
    `**Speed-up ${first.sweep}**: seconds of the whole sweep, training and evaluation, of ${first.title}.`,
    table<SpeedUpRow>(
      "Speed-up",
      [...rows, ...published],
      ({ title }) => title,
      [
        { title: "Sweep, seconds", cell: ({ sweep }) => sweep },
        { title: "Training, seconds", cell: ({ training }) => training },
        { title: "Sweep, FLOP", cell: ({ sweepFlops }) => sweepFlops },
        { title: "Training, FLOP", cell: ({ trainingFlops }) => trainingFlops },
        { title: "Examples trained on", cell: ({ examples }) => examples },
      ],
    ),
    ...(published.length > 0 ? [PAPER_NOTE] : []),
  ];
}

/** DyLoRA's own figure for MRPC, from seconds of training alone. */
const PAPER_MRPC: SpeedUpRow = {
  title: "The DyLoRA paper: LoRA, 8 ranks / DyLoRA, ranks 1 to 8",
  sweep: "not published",
  training: "7.83x",
  sweepFlops: "not published",
  trainingFlops: "not published",
  examples: "not published",
};

const PAPER_NOTE =
  "The paper's line (arXiv 2210.07558, appendix A): MRPC with RoBERTa-base, 408.39 s for DyLoRA against 8 x 399.95 s for LoRA.";

function withRanks(method: MethodSummary, ranks: readonly number[]): string {
  return `${titleOf(method)}, ${plain(rankList(ranks))}`;
}

function tera(flops: number): string {
  return significant(flops / 1e12);
}

function times(ratio: number): string {
  return `${ratio.toFixed(2)}x`;
}

function rounded(count: number): string {
  return String(Math.round(count));
}
