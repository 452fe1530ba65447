import { choicesText } from "./choices.ts";
import {
  type Column,
  exactPercent,
  figureName,
  intervalText,
  percent,
  plain,
  table,
  titleOf,
} from "./format.ts";
import type { Average, Comparison, MethodSummary, Report } from "./report.ts";
import {
  costText,
  differencesText,
  differenceTable,
  recommendationText,
  scoresText,
} from "./tables.ts";

/** A report as Markdown: means over several tasks, what is published of them, and for each task its scores by rank, the rank to take, and its costs; at last the ranks chosen by module. */
export function renderMarkdown(report: Report): string {
  const parts = report.comparisons.flatMap((comparison) => [
    `## ${headingOf(comparison)}`,
    ...protocolText(comparison),
    `![Scores by rank](${figureName(comparison)})`,
    ...scoresText(comparison),
    ...differencesText(comparison),
    ...recommendationText(comparison),
    ...costText(comparison),
  ]);
  return [
    "# Report",
    ...report.averages.flatMap(averageText),
    ...publishedText(report),
    ...parts,
    ...choicesText(report.choices),
  ].join("\n\n") + "\n";
}

function headingOf({ title, epoch }: Comparison): string {
  return plain(title) + (epoch === "best" ? ", best epoch" : "");
}

/** Settings of trainings, as a report writes them. */
const SETTINGS = [
  ["epochs", "epochs"],
  ["batchSize", "examples a step"],
  ["learningRate", "learning rate"],
  ["alpha", "alpha"],
  ["scale", "scale at rank b"],
  ["precision", "precision"],
  ["engine", "engine"],
] as const;

/** What was measured, and how: which examples, epoch and seeds, and the settings of the trainings. */
function protocolText(comparison: Comparison): string[] {
  const { split, examples, epoch, confidence } = comparison;
  const evaluated = `${examples} examples of the split ${plain(split)}.`;
  const chosen = epoch === "last"
    ? "Each training is evaluated as its last epoch left it."
    : bestEpochText(comparison);
  const intervals = `All scores are times 100; brackets are ${
    exactPercent(confidence)
  } % intervals by bootstrap over examples and seeds${
    fewSeedsText(comparison)
  }.`;
  return [
    [evaluated, chosen, seedsText(comparison), intervals].join(" "),
    ...settingsText(comparison),
  ];
}

/** How the best epoch was chosen, and what that does to its scores. */
function bestEpochText({ methods, split, metrics }: Comparison): string {
  const splits = [
    ...new Set(methods.flatMap(({ settings }) => settings?.selectedOn ?? [])),
  ];
  const text = `Each training is evaluated at its best epoch: the one whose ${
    metrics[0]
  }, averaged over its ranks, was highest on the split ${
    plain(splits.join(" or "))
  }.`;
  return splits.includes(split)
    ? `${text} These are the examples reported here, so scores are a little too good.`
    : text;
}

function seedsText({ methods }: Comparison): string {
  const groups = Map.groupBy(
    methods,
    ({ ranks }) =>
      [...new Set(ranks.map(({ seeds }) => seeds.join(", ")))].join(" or "),
  );
  const of = (seeds: string) =>
    seeds.includes(",") ? `seeds ${seeds}` : `seed ${seeds}`;
  if (groups.size === 1) {
    const [seeds] = [...groups.keys()] as [string];
    return seeds.includes(",")
      ? `Trained with the ${of(seeds)}.`
      : `One seed (${seeds}).`;
  }
  return `Trained with ${
    [...groups].map(([seeds, found]) =>
      `${of(seeds)} (${found.map(titleOf).join(", ")})`
    ).join("; ")
  }.`;
}

/** Seeds below which a bootstrap over them shows clearly less than they vary. */
const FEW_SEEDS = 10;

/** A bootstrap over n values finds (n - 1) / n of their variance: over one, none. */
function fewSeedsText({ methods }: Comparison): string {
  const least = ({ ranks }: MethodSummary) =>
    Math.min(...ranks.map(({ seeds }) => seeds.length));
  const single = methods.filter((method) => least(method) === 1);
  const several = methods.filter((method) => !single.includes(method));
  const nothing = "hold nothing of how trainings differ";
  if (several.length === 0) return `; with one seed they ${nothing}`;
  return [
    ...(several.some((method) => least(method) < FEW_SEEDS)
      ? ["; with so few seeds they are somewhat narrow"]
      : []),
    ...(single.length > 0
      ? [`; those of one seed (${single.map(titleOf).join(", ")}) ${nothing}`]
      : []),
  ].join("");
}

/** Settings that all trainings share once, the others with their methods. */
function settingsText({ methods }: Comparison): string[] {
  const evaluations = `Evaluations: precision ${
    valuesText(methods, ({ evaluatedIn }) => evaluatedIn)
  }.`;
  const trained = methods.filter(({ settings }) => settings !== null);
  if (trained.length === 0) return [evaluations];
  const texts = SETTINGS.flatMap(([key, name]) => {
    const text = valuesText(trained, ({ settings }) => settings![key]);
    return text === "" ? [] : [`${name} ${text}`];
  });
  return [
    `Trainings: ${texts.join("; ")}.${startText(trained)} ${evaluations}`,
  ];
}

/** Values of methods, with the methods that have them unless all share one. */
function valuesText(
  methods: readonly MethodSummary[],
  valuesOf: (method: MethodSummary) => readonly (string | number)[],
): string {
  const groups = Map.groupBy(
    methods.filter((method) => valuesOf(method).length > 0),
    (method) => valuesOf(method).join(" or "),
  );
  return [...groups].map(([value, found]) =>
    groups.size === 1 ? value : `${value} (${found.map(titleOf).join(", ")})`
  ).join(", ");
}

/** Which adapters did not start anew. */
function startText(trained: readonly MethodSummary[]): string {
  const started = trained.filter(({ settings }) =>
    settings!.startedFrom.length > 0
  );
  if (started.length === 0) return "";
  const tasks = new Set(
    started.flatMap(({ settings }) => settings!.startedFrom),
  );
  return ` Adapters were carried over from trainings on ${
    plain([...tasks].join(", "))
  }, whose costs are not counted here (${started.map(titleOf).join(", ")}).`;
}

/** The mean over tasks of each method at each rank, as the papers print it. */
function averageText(average: Average): string[] {
  const { methods, tasks, epoch, split } = average;
  const curves = methods.filter(({ role }) => role !== "bound");
  const bounds = methods.filter(({ role }) => role === "bound");
  const ranks = new Set(
    curves.flatMap(({ ranks }) => ranks.map(({ rank }) => rank)),
  );
  const columns = curves.map((method): Column<number> => ({
    title: titleOf(method),
    cell: (rank) => cellAt(method, rank),
  }));
  return [
    `## Mean over ${tasks.length} tasks${
      epoch === "best" ? ", best epoch" : ""
    }`,
    `The split ${plain(split)} of ${
      tasks.map(({ title, metric }) => `${plain(title)} (${metric})`).join(", ")
    }${
      tasks.some(({ task }) => task === "mnli")
        ? "; of MNLI the matched set"
        : ""
    }.`,
    ...(curves.length === 0 ? [] : [
      table("Rank", [...ranks].sort((a, b) => a - b), String, columns),
    ]),
    ...differences(average),
    ...(bounds.length === 0 ? [] : [
      table("Without adapters", bounds, titleOf, [
        { title: "mean", cell: (method) => cellAt(method, 0) },
      ]),
    ]),
    ...(isOfPaper(tasks) ? [PAPER] : []),
  ];
}

function differences({ methods, contrasts }: Average): string[] {
  return [...Map.groupBy(contrasts, ({ baseline }) => baseline)].flatMap(
    ([place, found]) => {
      const shared = found.filter(({ ranks }) => ranks.length > 0);
      return shared.length === 0 ? [] : [
        `Less ${titleOf(methods[place]!)} at the same rank, paired as below:`,
        differenceTable(
          shared,
          ({ candidate }) => titleOf(methods[candidate]!),
        ),
      ];
    },
  );
}

const PAPER =
  "The DyLoRA paper (arXiv 2210.07558, table 2) has for RoBERTa-base on GLUE's eight tasks: at rank 1 LoRA 54.90 and DyLoRA 84.22, at rank 8 LoRA 85.27 and DyLoRA 85.44. Its LoRA at rank 1 is most likely one of rank 8 cut off.";

const PAPER_TASKS = "cola mnli mrpc qnli qqp rte sst2 stsb";

function isOfPaper(tasks: Average["tasks"]): boolean {
  return tasks.map(({ task }) => task).sort().join(" ") === PAPER_TASKS;
}

function cellAt({ ranks }: Average["methods"][number], rank: number): string {
  const found = ranks.find((other) => other.rank === rank);
  return found === undefined
    ? "not run"
    : percent(found.mean) + intervalText(found.interval);
}

/** Published figures beside which a report can be read: those of ablations, and of six tasks at once. */
export function publishedText({ comparisons }: Report): string[] {
  const parts = [
    ...(comparisons.some(isAblation) ? ablationText() : []),
    ...taskText(comparisons),
  ];
  return parts.length === 0 ? [] : ["## Published figures", ...parts];
}

/** Whether DyLoRA was trained in several modes, or with several samplers. */
function isAblation({ methods }: Report["comparisons"][number]): boolean {
  const variants = methods.filter(({ method }) => method === "dylora")
    .map(({ variant }) => variant);
  return ["mode", "sampler"].some((key) =>
    new Set(variants.map((variant) => variant[key])).size > 1
  );
}

interface AblationRow {
  readonly rank: number;
  readonly all: string;
  readonly frozen: string;
  readonly geometric: string;
}

const ABLATION: readonly AblationRow[] = [
  { rank: 1, all: "83.30", frozen: "81.61", geometric: "83.42" },
  { rank: 8, all: "84.47", frozen: "83.31", geometric: "not at hand" },
];

function ablationText(): string[] {
  return [
    "The ablation of the DyLoRA paper (arXiv 2210.07558, table 4), as far as it was at hand:",
    table<AblationRow>("Rank", ABLATION, ({ rank }) => String(rank), [
      { title: "all rows, uniform", cell: ({ all }) => all },
      { title: "frozen rows, uniform", cell: ({ frozen }) => frozen },
      {
        title: "all rows, geometric (p = 0.15)",
        cell: ({ geometric }) => geometric,
      },
    ]),
  ];
}

interface TaskRow {
  readonly title: string;
  /** By task. */
  readonly scores: Readonly<Record<string, string>>;
}

const TASK_ROWS: readonly TaskRow[] = [
  {
    title: "DyLoRA",
    scores: {
      sst2: "94.3",
      mrpc: "89.5",
      cola: "61.1",
      qnli: "92.2",
      rte: "78.7",
      stsb: "91.1",
    },
  },
  {
    title: "LoRA",
    scores: {
      sst2: "95.1",
      mrpc: "89.7",
      cola: "63.4",
      qnli: "93.3",
      rte: "78.4",
      stsb: "91.5",
    },
  },
];

/** What another paper has of DyLoRA, if the report has all of its tasks. */
function taskText(comparisons: Report["comparisons"]): string[] {
  const titles = new Map(
    comparisons.map(({ task, title }) => [task, title]),
  );
  const tasks = Object.keys(TASK_ROWS[0]!.scores);
  if (!tasks.every((task) => titles.has(task))) return [];
  return [
    "DyLoRA and LoRA with RoBERTa-base in the FourierFT paper (arXiv 2405.03003, table 2):",
    table(
      "Method",
      TASK_ROWS,
      ({ title }) => title,
      tasks.map((task): Column<TaskRow> => ({
        title: plain(titles.get(task)!),
        cell: ({ scores }) => scores[task]!,
      })),
    ),
  ];
}
