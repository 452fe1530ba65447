import { z } from "zod";
import type { Epoch, Variant } from "./result.ts";
import { mean } from "./statistics.ts";
import { defined } from "./summarize.ts";
import {
  type Column,
  methodTitle,
  percent,
  plain,
  signed,
  table,
} from "./format.ts";

/** A choice of a rank for each module of one training's adapter, and how it scores. */
export interface ChoiceResult {
  /** Name of the GLUE task, or the user's own name for the data. */
  readonly task: string;
  /** The task's name as GLUE writes it: `SST-2`. */
  readonly title: string;
  /** Split that it is scored on. */
  readonly split: string;
  readonly epoch: Epoch;
  readonly method: string;
  readonly variant: Variant;
  readonly seed: number;
  /** Most values that lora_A and lora_B might have. */
  readonly budget: number;
  /** In their order. */
  readonly modules: ReadonlyMap<string, number>;
  readonly chosen: ChoiceScore;
  /** One rank for all modules: the largest within the budget first, the adapter's own last. */
  readonly even: readonly (ChoiceScore & { readonly rank: number })[];
}

/** What ranks cost and reach. */
interface ChoiceScore {
  /** Values in all lora_A and lora_B. */
  readonly parameters: number;
  /** By name, the one to judge by first; NaN where one is undefined. */
  readonly metrics: Readonly<Record<string, number>>;
}

const Score = {
  /** Values in all lora_A and lora_B, mean over the seeds. */
  parameters: z.number(),
  /** Mean over the seeds; null where it is undefined. */
  metrics: z.record(z.string(), z.number().nullable()),
};

/** Choices of ranks by module that differ in their seed alone, as `report.json` has them. */
export const ChoiceSummary = z.strictObject({
  task: z.string(),
  title: z.string(),
  split: z.string(),
  epoch: z.enum(["last", "best"]),
  method: z.string(),
  variant: z.record(z.string(), z.union([z.string(), z.number()])),
  seeds: z.array(z.int()),
  budget: z.number(),
  /** Rank of each module, one for each seed. */
  modules: z.array(
    z.strictObject({ module: z.string(), ranks: z.array(z.int()) }),
  ),
  chosen: z.strictObject(Score),
  /** One rank for all modules: the largest within the budget first, the adapter's own last. */
  even: z.array(z.strictObject({ rank: z.int(), ...Score })).min(1),
});

export type ChoiceSummary = z.output<typeof ChoiceSummary>;

/**
 * Puts choices that differ in their seed alone together.
 *
 * @throws {TypeError} If such choices were made under different budgets, or for one seed twice.
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
    throw new TypeError(
      `Ranks by module of "${method}" on "${task}" were chosen ${
        same ? "twice for one seed" : "under different budgets"
      }; a dimension of the matrix tells variants apart`,
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

function meanOf(scores: readonly ChoiceScore[]) {
  return {
    parameters: mean(scores.map(({ parameters }) => parameters)),
    metrics: Object.fromEntries(
      Object.keys(scores[0]!.metrics).map((name) => [
        name,
        defined(mean(scores.map(({ metrics }) => metrics[name]!))),
      ]),
    ),
  };
}

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
