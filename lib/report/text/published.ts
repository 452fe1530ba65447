import type { Report } from "../report.ts";
import { type Column, table } from "./table.ts";
import { plain } from "./words.ts";

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
