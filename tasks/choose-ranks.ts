import type { ScoredSplit } from "../lib/stages/scored_split.ts";
import type {
  Choice,
  ChoiceEvaluator,
  GreedyStep,
  RankBudget,
} from "../lib/stages/rank_search.ts";
import { z } from "zod";
import { readAdapter, tensorsOf } from "../lib/artifacts/adapter.ts";
import { checkClasses } from "../lib/artifacts/classes.ts";
import { modulesOf, RANKS_FILES, writeRanks } from "../lib/artifacts/ranks.ts";
import { readFittingTokens } from "../lib/artifacts/tokens.ts";
import { trainedAs } from "../lib/artifacts/training.ts";
import type { Examples } from "../lib/engine/batches.ts";
import { meanLoss } from "../lib/glue/metrics.ts";
import { defineTask, type Stage } from "../lib/pipeline/task.ts";
import {
  ADAPTER_INPUTS,
  epoch,
  evaluationBatch,
  precision,
  split,
} from "../lib/stages/settings.ts";

const Params = z.strictObject({
  averageRank: z.number().min(1).optional().describe(
    "Budget as the mean of all modules' ranks; give this or parameters",
  ),
  parameters: z.int().min(1).optional().describe(
    "Budget as the number of values in all lora_A and lora_B",
  ),
  selectOn: split.default("train").describe(
    "Split by whose loss ranks are chosen; not the one that the choice is scored on",
  ),
  examples: z.int().min(1).default(256).describe(
    "Most examples of that split to use, spread evenly over it",
  ),
  split: split.default("validation").describe(
    "Split that the choice is scored on, beside one rank for all modules",
  ),
  batchSize: evaluationBatch,
  epoch,
  precision,
});

export default defineTask({
  description:
    "Choose a rank for each module of an adapter under a budget, greedily by the loss, and score the choice",
  params: Params,
  inputs: ADAPTER_INPUTS,
  output: { kind: "ranks", files: RANKS_FILES },
  needs: ["engine"],
  async run(stage) {
    const { adapterValues, loadClassifier, startStageEngine } = await import(
      "../lib/stages/load_classifier.ts"
    );
    const { bestStep, ChoiceEvaluator, spreadExamples } = await import(
      "../lib/stages/rank_search.ts"
    );
    const { ScoredSplit } = await import("../lib/stages/scored_split.ts");
    const { params, inputs } = stage;
    const adapter = await readAdapter(inputs.adapter![0]!.path);
    const { training } = adapter;
    const tensors = tensorsOf(adapter, params.epoch);
    const modules = modulesOf(Object.keys(tensors)).sort(byPlace);
    const tokens = inputs.tokens![0]!.path;
    const info = await readFittingTokens(tokens, inputs.model![0]!.path);
    checkClasses(training, info);
    const selection = new ScoredSplit(tokens, info, params.selectOn);
    const held = new ScoredSplit(tokens, info, params.split);
    if (selection.name === held.name) {
      throw new TypeError(
        `The ranks would be chosen and scored on the same split "${held.name}": give "selectOn" and "split" two different ones`,
      );
    }
    const hidden = Object.entries(tensors).find(([name]) =>
      name.endsWith(".lora_A.weight")
    )![1].shape[1]!;
    const perRank = 2 * hidden;
    const total = totalRank(params, modules.length, perRank);
    const precision = await startStageEngine(stage);
    const classifier = loadClassifier(
      inputs.model![0]!.path,
      training.rank,
      held.outputs,
    );
    using evaluator = new ChoiceEvaluator(
      classifier,
      adapterValues({ tensors }, classifier),
      training,
      { batchSize: params.batchSize, signal: stage.signal },
    );
    const subset = spreadExamples(selection.examples, params.examples);
    const budget = { modules: modules.length, largest: training.rank, total };
    const way = await searchRanks(
      stage,
      evaluator,
      subset,
      held.outputs,
      budget,
    );
    const { ranks, loss } = bestStep(way);
    const examples = subset.labels.length;
    stage.log(
      `Ranks ${ranks.join(", ")}: loss ${
        loss.toFixed(4)
      } on ${examples} examples of ${selection.name}, ${
        way[0]!.loss.toFixed(4)
      } at rank 1`,
    );
    const { chosen, even } = await scoreBesideEven(
      evaluator,
      held,
      ranks,
      budget,
      perRank,
    );
    await writeRanks(stage.output, {
      task: info.task,
      method: training.method,
      modules: new Map(modules.map((module, i) => [module, ranks[i]!])),
      choice: {
        seed: training.seed,
        trained: trainedAs(training),
        epoch: params.epoch,
        budget: Math.floor(total * perRank),
        selection: {
          split: selection.name,
          examples,
          start: way[0]!.loss,
          moves: way.slice(1).map(({ raised, loss }) => ({
            module: modules[raised!]!,
            loss,
          })),
        },
        precision,
        split: held.name,
        examples: held.examples.labels.length,
        chosen,
        even,
      },
    });
  },
});

/** Raises ranks greedily by the loss on the examples, and says how far it has come. */
async function searchRanks(
  stage: Pick<Stage<unknown>, "progress">,
  evaluator: ChoiceEvaluator,
  examples: Examples,
  outputs: number,
  budget: RankBudget,
): Promise<GreedyStep[]> {
  const { modules, largest, total } = budget;
  const moves = Math.min(total, modules * largest) - modules;
  let move = 0;
  const { greedyRanks } = await import("../lib/stages/rank_search.ts");
  return await greedyRanks(budget, async (choices) => {
    const logits = await evaluator.logits(examples, choices);
    stage.progress(move++, moves, "moves");
    return logits.map((one) => meanLoss(one, examples.labels, outputs));
  });
}

/** Scores a choice beside the one rank for all modules that the same budget pays for, and beside the whole adapter. */
async function scoreBesideEven(
  evaluator: ChoiceEvaluator,
  split: ScoredSplit,
  ranks: Choice,
  budget: RankBudget,
  perRank: number,
) {
  const { evenRank } = await import("../lib/stages/rank_search.ts");
  const even = [...new Set([evenRank(budget), budget.largest])];
  const choices = [ranks, ...even.map((rank) => ranks.map(() => rank))];
  const { examples, outputs } = split;
  const logits = await evaluator.logits(examples, choices);
  const [chosen, ...others] = logits.map((one, i) => ({
    parameters: sumOf(choices[i]!) * perRank,
    loss: meanLoss(one, examples.labels, outputs),
    metrics: split.score([0], one)[0]!.metrics,
  }));
  return {
    chosen: chosen!,
    even: even.map((rank, i) => ({ rank, ...others[i]! })),
  };
}

/** The budget as a sum of ranks. */
function totalRank(
  { averageRank, parameters }: Pick<
    z.output<typeof Params>,
    "averageRank" | "parameters"
  >,
  modules: number,
  perRank: number,
): number {
  if ((averageRank === undefined) === (parameters === undefined)) {
    throw new TypeError('Give either "averageRank" or "parameters"');
  }
  if (averageRank !== undefined) return Math.floor(averageRank * modules);
  const total = Math.floor(parameters! / perRank);
  if (total >= modules) return total;
  throw new RangeError(
    `${parameters} parameters do not suffice: rank 1 in each module takes ${
      modules * perRank
    }`,
  );
}

/** Modules in the engine's order: by layer, query before value. */
function byPlace(a: string, b: string): number {
  const layer = (name: string) => Number(name.split(".")[1]);
  return layer(a) - layer(b) || (a < b ? -1 : 1);
}

function sumOf(ranks: readonly number[]): number {
  return ranks.reduce((sum, rank) => sum + rank, 0);
}
