import { percent, plain, signed, table } from "./format.ts";
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
      }, and nothing in the settings of its trainings tells them apart`,
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
    `One rank per module within a parameter budget, chosen by the loss on examples other than the scored ones or given, compared with the largest uniform rank within the same budget and with the full adapter. Scores are multiplied by 100${
      several ? " and averaged over seeds" : ""
    }; they have no intervals.`,
    table(
      [
        "Task",
        "Metric",
        "Ranks per module",
        "Uniform rank",
        "Difference",
        "Full adapter",
      ],
      choices.map(cellsOf),
    ),
    several ? "Ranks, one per seed:" : "Ranks:",
    table(
      ["Module", ...choices.map(choiceTitle)],
      [...modules].map((name) => [
        plain(name),
        ...choices.map(({ modules }) =>
          modules.find(({ module }) => module === name)?.ranks.join(", ") ?? ""
        ),
      ]),
    ),
  ];
}

/** `MRPC, DyLoRA, best epoch`. */
function choiceTitle(choice: ChoiceSummary): string {
  const { title, split, epoch } = choice;
  return [
    plain(title),
    plain(methodTitle(choice)),
    ...(split === "validation" ? [] : [plain(split)]),
    ...(epoch === "best" ? ["best epoch"] : []),
  ].join(", ");
}

function cellsOf(choice: ChoiceSummary): string[] {
  const { chosen, even } = choice;
  const [metric] = Object.keys(chosen.metrics) as [string];
  const scoreText = ({ metrics, parameters }: ChoiceSummary["chosen"]) =>
    `${percent(metrics[metric]!)} (${Math.round(parameters)} parameters)`;
  const evenText = (it: typeof even[number]) =>
    `rank ${it.rank}: ${scoreText(it)}`;
  const uniform = even[0]!;
  const [ours, theirs] = [chosen, uniform].map((it) => it.metrics[metric]!);
  return [
    choiceTitle(choice),
    metric,
    scoreText(chosen),
    evenText(uniform),
    signed(ours === null || theirs === null ? null : ours! - theirs!),
    evenText(even.at(-1)!),
  ];
}
