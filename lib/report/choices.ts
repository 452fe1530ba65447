import { type Column, percent, plain, signed, table } from "./format.ts";
import { methodTitle } from "./methods.ts";
import type { ChoiceSummary } from "./report.ts";
import type { ChoiceResult, ChoiceScore } from "./result.ts";
import { mean } from "./statistics.ts";
import { definedOf } from "./summarize.ts";

/**
 * Summarizes per-module choices of ranks that differ only in their seed.
 *
 * @throws {Error} If such choices have different budgets or the same seed.
 */
export function summarizeChoices(
  choices: readonly ChoiceResult[],
): ChoiceSummary[] {
  const groups = Map.groupBy(
    choices,
    ({ task, split, epoch, method, variant }) =>
      JSON.stringify([task, split, epoch, method, variant]),
  );
  return [...groups.values()].map((group) =>
    summarize(group.toSorted((a, b) => a.seed - b.seed))
  );
}

function summarize(group: readonly ChoiceResult[]): ChoiceSummary {
  const [first] = group as [ChoiceResult];
  const { task, title, split, epoch, method, variant, budget } = first;
  const seeds = group.map(({ seed }) => seed);
  const evenRanks = ({ even }: ChoiceResult) =>
    even.map(({ rank }) => rank).join();
  const same = group.every((other) =>
    other.budget === budget && evenRanks(other) === evenRanks(first)
  );
  if (!same || new Set(seeds).size !== seeds.length) {
    throw new Error(
      `The ranks per module of "${method}" on "${task}" were chosen ${
        same ? "twice for one seed" : "under different budgets"
      }; add a matrix dimension that distinguishes the variants`,
    );
  }
  return {
    task,
    title,
    split,
    epoch,
    method,
    variant: { ...variant },
    seeds,
    budget,
    modules: [...first.modules.keys()].map((module) => ({
      module,
      ranks: group.map(({ modules }) => modules.get(module)!),
    })),
    chosen: meanOf(group.map(({ chosen }) => chosen)),
    even: first.even.map(({ rank }, i) => ({
      rank,
      ...meanOf(group.map(({ even }) => even[i]!)),
    })),
  };
}

function meanOf(scores: readonly ChoiceScore[]): ChoiceSummary["chosen"] {
  return {
    parameters: mean(scores.map(({ parameters }) => parameters)),
    metrics: Object.fromEntries(
      Object.keys(scores[0]!.metrics).map((name) => [
        name,
        definedOf(mean(scores.map(({ metrics }) => metrics[name]!))),
      ]),
    ),
  };
}

/** Markdown: per-module ranks beside the largest uniform rank of the same budget. */
export function choicesText(choices: readonly ChoiceSummary[]): string[] {
  if (choices.length === 0) return [];
  const several = choices.some(({ seeds }) => seeds.length > 1);
  const modules = new Set(
    choices.flatMap(({ modules }) => modules.map(({ module }) => module)),
  );
  return [
    "## Ranks chosen per module",
    `One rank per module within a parameter budget, chosen by the loss on examples other than the scored ones, compared with the largest uniform rank within the same budget and with the full adapter. Scores are multiplied by 100${
      several ? " and averaged over seeds" : ""
    }; they have no intervals.`,
    table("Task", choices, titleOf, [
      { title: "Metric", cell: metricOf },
      { title: "Ranks per module", cell: (it) => scoreText(it, it.chosen) },
      { title: "Uniform rank", cell: (it) => evenText(it, it.even[0]!) },
      { title: "Difference", cell: differenceText },
      { title: "Full adapter", cell: (it) => evenText(it, it.even.at(-1)!) },
    ]),
    several ? "Ranks, one per seed:" : "Ranks:",
    table(
      "Module",
      [...modules],
      plain,
      choices.map((choice): Column<string> => ({
        title: titleOf(choice),
        cell: (name) =>
          choice.modules.find(({ module }) => module === name)?.ranks
            .join(", ") ?? "",
      })),
    ),
  ];
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
  const chosen = choice.chosen.metrics[name]!;
  const even = choice.even[0]!.metrics[name]!;
  return signed(chosen === null || even === null ? null : chosen - even);
}
