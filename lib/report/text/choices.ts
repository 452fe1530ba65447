import type { ChoiceSummary } from "../choice.ts";
import { type Column, table } from "./table.ts";
import { methodTitle, percent, plain, signed } from "./words.ts";

/** Ranks chosen by module beside the one rank for all modules that the same budget pays for. */
export function choicesText(choices: readonly ChoiceSummary[]): string[] {
  if (choices.length === 0) return [];
  const several = choices.some(({ seeds }) => seeds.length > 1);
  return [
    "## Ranks chosen by module",
    `A rank for each module under a budget of parameters, chosen by the loss on other examples than it is scored on, beside one rank for all modules that the same budget pays for, and beside the whole adapter. Scores are times 100${
      several ? ", mean over the seeds" : ""
    }, without intervals.`,
    table("Task", choices, titleOf, [
      { title: "Metric", cell: metricOf },
      { title: "Chosen by module", cell: (it) => scoreText(it, it.chosen) },
      { title: "One rank", cell: (it) => evenText(it, it.even[0]!) },
      { title: "Chosen less one rank", cell: differenceText },
      { title: "Whole adapter", cell: (it) => evenText(it, it.even.at(-1)!) },
    ]),
    several ? "The ranks, one for each seed:" : "The ranks:",
    ranksTable(choices),
  ];
}

function ranksTable(choices: readonly ChoiceSummary[]): string {
  const modules = choices.flatMap(({ modules }) =>
    modules.map(({ module }) => module)
  );
  const columns = choices.map((choice): Column<string> => ({
    title: titleOf(choice),
    cell: (name) =>
      choice.modules.find(({ module }) => module === name)?.ranks.join(", ") ??
        "",
  }));
  return table("Module", [...new Set(modules)], plain, columns);
}

/** `MRPC, DyLoRA, best epoch`. */
function titleOf(choice: ChoiceSummary): string {
  const { title, split, epoch } = choice;
  return [
    plain(title),
    plain(methodTitle(choice)),
    ...(split === "validation" ? [] : [plain(split)]),
    ...(epoch === "best" ? ["best epoch"] : []),
  ].join(", ");
}

function metricOf({ chosen }: ChoiceSummary): string {
  return Object.keys(chosen.metrics)[0]!;
}

function scoreText(
  choice: ChoiceSummary,
  { metrics, parameters }: ChoiceSummary["chosen"],
): string {
  const score = percent(metrics[metricOf(choice)]!);
  return `${score} (${Math.round(parameters)} parameters)`;
}

function evenText(
  choice: ChoiceSummary,
  even: ChoiceSummary["even"][number],
): string {
  return `rank ${even.rank}: ${scoreText(choice, even)}`;
}

function differenceText(choice: ChoiceSummary): string {
  const name = metricOf(choice);
  const [chosen, even] = [choice.chosen, choice.even[0]!].map(({ metrics }) =>
    metrics[name]!
  );
  return chosen === null || even === null
    ? signed(null)
    : signed(chosen! - even!);
}
