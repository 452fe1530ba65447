import type { Average } from "../report.ts";
import { differenceTable } from "./differences.ts";
import { type Column, table } from "./table.ts";
import { intervalText, percent, plain, titleOf } from "./words.ts";

/** The mean over tasks of each method at each rank, as the papers print it. */
export function averageText(average: Average): string[] {
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
