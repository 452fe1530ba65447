import {
  exactPercent,
  percent,
  plain,
  rankList,
  rankTable,
  signed,
  significant,
  table,
  titleOf,
  withInterval,
} from "./format.ts";
import { SPEED_UP } from "./published.ts";
import type {
  Average,
  Comparison,
  Contrast,
  CostSummary,
  Curves,
  MethodSummary,
  ScoreSummary,
} from "./report.ts";
import { mean } from "./statistics.ts";

/** Scores by rank, and the scores of the majority class and the bounds. */
export function scoresText(comparison: Comparison): string[] {
  const { methods } = comparison;
  const [main, ...others] = comparison.metrics as [string, ...string[]];
  const several = methods.some(({ ranks }) =>
    ranks.some(({ seeds }) => seeds.length > 1)
  );
  const of = several ? "mean over seeds" : "one seed";
  const curves = methods.filter(({ role }) => role !== "bound").map((it) => ({
    title: titleOf(it),
    ranks: it.ranks,
  }));
  if (curves.length === 0) {
    return ["### Scores", ...boundsText(comparison, comparison.majority)];
  }
  const all = new Set(
    curves.flatMap(({ ranks }) => ranks.map((it) => it.rank)),
  );
  const scores = (text: (score: ScoreSummary) => string) =>
    rankTable<ScoreSummary>(curves, text, "not run");
  return [
    "### Scores by rank",
    `**${main}**, ${of}:`,
    scores(({ metrics, intervals }) =>
      withInterval(metrics[main]!.mean, intervals.mean)
    ),
    ...(several
      ? [
        `**${main}**, median over seeds ± standard deviation:`,
        scores((score) =>
          withInterval(score.metrics[main]!.median, score.intervals.median) +
          spread(score, main)
        ),
      ]
      : []),
    ...others.flatMap((other) => [
      `**${other}**, ${of}${several ? " ± standard deviation" : ""}:`,
      scores((score) =>
        percent(score.metrics[other]!.mean) + spread(score, other)
      ),
    ]),
    ...(curves.every(({ ranks }) => ranks.length === all.size)
      ? []
      : ["`not run`: no adapter of this rank was trained or evaluated."]),
    ...boundsText(comparison, comparison.majority),
  ];
}

/** A score, of which one of a mean over tasks has no deviation. */
type Scored = Curves["methods"][number]["ranks"][number] & {
  readonly metrics: Readonly<
    Record<string, Partial<ScoreSummary["metrics"][string]>>
  >;
};

function spread({ metrics }: Pick<Scored, "metrics">, name: string): string {
  const { deviation = null } = metrics[name]!;
  return deviation === null ? "" : ` ± ${percent(deviation)}`;
}

/** Scores of the majority class and of the methods without adapters. */
export function boundsText(
  { methods, metrics }: Curves,
  majority: Comparison["majority"],
): string[] {
  const rows = methods.filter(({ role }) => role === "bound").map((bound) => {
    const score: Scored = bound.ranks[0]!;
    return [
      titleOf(bound),
      ...metrics.map((metric, i) =>
        withInterval(
          score.metrics[metric]!.mean,
          i === 0 ? score.intervals.mean : null,
        ) + spread(score, metric)
      ),
    ];
  });
  if (majority !== null) {
    const scores = metrics.map((metric) => percent(majority[metric]!));
    rows.unshift(["Majority class", ...scores]);
  }
  return rows.length === 0
    ? []
    : [table(["Without adapters", ...metrics], rows)];
}

/** Differences to each baseline by rank. */
export function differencesText(
  { methods, metrics, contrasts }: Comparison,
): string[] {
  const tables = differenceTables(
    methods,
    contrasts,
    (baseline, found) =>
      `**${metrics[0]}**, difference to ${baseline} at the same rank (${
        pairingText(methods, found)
      }):`,
  );
  return tables.length === 0 ? [] : ["### Differences", ...tables];
}

/** One table per baseline, with one column per candidate, each after its heading. */
export function differenceTables<
  T extends Average["contrasts"][number] & Partial<Pick<Contrast, "area">>,
>(
  methods: readonly Parameters<typeof titleOf>[0][],
  contrasts: readonly T[],
  heading: (baseline: string, contrasts: readonly T[]) => string,
): string[] {
  const shared = contrasts.filter(({ ranks }) => ranks.length > 0);
  return [...Map.groupBy(shared, ({ baseline }) => baseline)].flatMap(
    ([place, found]) => [
      heading(titleOf(methods[place]!), found),
      rankTable<NonNullable<Contrast["area"]>>(
        found.map(({ candidate, ranks, area }) => ({
          title: titleOf(methods[candidate]!),
          ranks,
          whole: area,
        })),
        (it) => withInterval(it.difference, it.interval, signed),
        "",
      ),
    ],
  );
}

/** Bootstrap replicates always share examples, and seeds if both methods have the same. */
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
  const only = "paired by example only, because the seeds differ";
  if (unpaired.length === contrasts.length) return only;
  const titles = unpaired.map(({ candidate }) => titleOf(methods[candidate]!));
  return `paired by example and seed; ${titles.join(", ")}: ${only}`;
}

/** Recommended ranks with their evidence, and the curves over all ranks. */
export function recommendationText(
  { methods, metrics, verdict }: Comparison,
): string[] {
  const curves = methods.filter(({ role, ranks }) =>
    role !== "bound" && ranks.length > 1
  );
  if (curves.length === 0) return [];
  const recommended = curves.flatMap((method) =>
    method.role === "candidate" && method.recommendation !== null
      ? [{ title: titleOf(method), ...method.recommendation }]
      : []
  );
  return [
    "### Recommended rank",
    ...(verdict?.kind === "nothing-learnt"
      ? [`No rank is recommended. ${plain(verdict.headline)}`]
      : recommended.map(({ title, rank, best, margin, confidence }) => {
        const points = exactPercent(margin);
        return `**Recommended rank of ${title}: ${rank}**, the smallest rank that scores at most ${points} ${
          points === "1" ? "point" : "points"
        } below the best rank (${best}), at ${
          exactPercent(confidence)
        } % confidence.`;
      })),
    table(
      [
        "Method",
        "Ranks",
        `Mean ${metrics[0]} over ranks (area under the curve)`,
        "Elbow",
      ],
      curves.map((method) => [
        titleOf(method),
        rankList(method.ranks.map(({ rank }) => rank)),
        withInterval(method.area.value, method.area.interval),
        method.elbow === null ? "none" : `rank ${method.elbow}`,
      ]),
    ),
    ...recommended.map(({ title, confidence, evidence }) =>
      table(
        [
          title,
          "Loss to best rank",
          `Upper bound (${exactPercent(confidence)} %)`,
          "Sufficient",
        ],
        evidence.map(({ rank, loss, bound, sufficient }) => [
          `rank ${rank}`,
          percent(loss),
          percent(bound),
          sufficient ? "yes" : "no",
        ]),
      )
    ),
  ];
}

/** What taking the recommended rank loses against the rank that a sweep of a baseline recommends. */
export function sweepText(
  { methods, metrics, contrasts, verdict }: Comparison,
): string[] {
  const compared = contrasts.filter(({ recommendations }) =>
    recommendations.length > 0
  );
  if (compared.length === 0 || verdict?.kind === "nothing-learnt") return [];
  const several = compared.some(({ recommendations }) =>
    recommendations.length > 1
  );
  return [
    "### Against the rank that a sweep recommends",
    ...[...Map.groupBy(compared, ({ baseline }) => baseline)].flatMap(
      ([place, found]) => {
        const baseline = titleOf(methods[place]!);
        return [
          `**${
            metrics[0]
          }** at the recommended rank, against that of ${baseline} at the rank that training it at every rank recommends${
            several ? "; by all seeds, and by each alone" : ""
          }:`,
          table(
            [
              "Method",
              "Recommended",
              `By ${baseline}`,
              "Difference",
              ...(several
                ? [
                  "Same rank by single seeds",
                  "Mean difference by single seeds",
                ]
                : []),
            ],
            found.map(({ candidate, recommendations: [all, ...alone] }) => [
              titleOf(methods[candidate]!),
              `rank ${all!.candidate}`,
              `rank ${all!.baseline}`,
              withInterval(all!.difference, all!.interval, signed),
              ...(several ? bySingleSeeds(alone) : []),
            ]),
          ),
        ];
      },
    ),
  ];
}

/** How often a seed alone recommends the same rank for both, and what it loses on average. */
function bySingleSeeds(alone: Contrast["recommendations"]): string[] {
  const same = alone.filter((it) => it.candidate === it.baseline);
  const differences = alone.map(({ difference }) => difference);
  return [
    `${same.length} of ${alone.length}`,
    alone.length === 0 ? "" : signed(mean(differences)),
  ];
}

/** Rows of the cost table; a row is left out if it is 0 for all methods. */
const COSTS: readonly (readonly [string, (cost: CostSummary) => string])[] = [
  ["Ranks", ({ ranks }) => rankList(ranks)],
  ["Trainings", ({ trainings }) => String(trainings)],
  ["Optimizer steps", ({ steps }) => String(Math.round(steps))],
  ["Training examples", ({ examples }) => String(Math.round(examples))],
  ["Seconds per step", (it) => significant(it.stepSeconds)],
  ["Training (s)", (it) => significant(it.trainingSeconds)],
  ["Epoch selection (s)", (it) => significant(it.selectionSeconds)],
  ["Reduction (s)", (it) => significant(it.reductionSeconds)],
  ["Evaluation (s)", (it) => significant(it.evaluationSeconds)],
  ["Whole sweep (s)", (it) => significant(it.sweepSeconds)],
  ["Training (TFLOP)", (it) => tera(it.trainingFlops)],
  ["Epoch selection (TFLOP)", (it) => tera(it.selectionFlops)],
  ["Evaluation (TFLOP)", (it) => tera(it.evaluationFlops)],
  ["Whole sweep (TFLOP)", (it) => tera(it.sweepFlops)],
];

function tera(flops: number): string {
  return significant(flops / 1e12);
}

/** Costs of each method's sweep, and the baselines' costs as multiples of the candidates'. */
export function costText(comparison: Comparison): string[] {
  const costs = comparison.methods.flatMap((method) =>
    method.cost === null ? [] : [{ title: titleOf(method), cost: method.cost }]
  );
  if (costs.length === 0) return [];
  return [
    "### Costs",
    table(
      ["Cost", ...costs.map(({ title }) => title)],
      COSTS.map(([title, text]) => [
        title,
        ...costs.map(({ cost }) => text(cost)),
      ]).filter(([, ...texts]) => texts.some((text) => text !== "0")),
    ),
    "A sweep trains and evaluates a method at all its ranks. Seconds are sums of the times measured when each stage ran: of training with reading the data, and of the whole stages of evaluation and reduction. Costs are means over seeds. One TFLOP is 10^12 floating-point operations, counted from the shapes of the matrix products including padding; a reduction counts as 0.",
    ...speedUpTable(comparison),
  ];
}

/** The speed-up of the first candidate against the first baseline that it is compared with. */
export function speedUpText(comparison: Comparison): string[] {
  const [first] = speedUps(comparison);
  return first === undefined ? [] : [
    `**Speed-up ${
      first[1]
    }** in seconds of the whole sweep, training and evaluation: ${first[0]}.`,
  ];
}

/** Rows of the table of speed-ups: what is compared, and the ratios of costs. */
function speedUps({ methods, contrasts }: Comparison): string[][] {
  const withRanks = (method: MethodSummary, ranks: readonly number[]) =>
    `${titleOf(method)}, ${plain(rankList(ranks))}`;
  return contrasts.flatMap(({ candidate, baseline, speedUp }) => {
    if (speedUp === null) return [];
    const [ours, theirs] = [methods[candidate]!, methods[baseline]!];
    const { ranks, sweep, training, sweepFlops, trainingFlops, examples } =
      speedUp;
    return [[
      `${withRanks(theirs, ranks)} / ${withRanks(ours, ours.cost!.ranks)}`,
      ...[sweep, training, sweepFlops, trainingFlops, examples]
        .map((ratio) => `${ratio.toFixed(2)}x`),
    ]];
  });
}

function speedUpTable(comparison: Comparison): string[] {
  const rows = speedUps(comparison);
  if (rows.length === 0) return [];
  const isPublished = comparison.task === SPEED_UP.task;
  return [
    table([
      "Speed-up",
      "Sweep (s)",
      "Training (s)",
      "Sweep (FLOP)",
      "Training (FLOP)",
      "Training examples",
    ], [...rows, ...(isPublished ? [SPEED_UP.row] : [])]),
    ...(isPublished ? [SPEED_UP.text] : []),
  ];
}
