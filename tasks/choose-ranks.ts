import type { ScoredSplit } from "../lib/stages/scored_split.ts";
import type {
  Choice,
  ChoiceEvaluator,
  GreedyStep,
  RankBudget,
} from "../lib/stages/rank_search.ts";
import { join } from "node:path";
import { z } from "zod";
import { readAdapter, tensorsOf } from "../lib/artifacts/adapter.ts";
import { checkClasses } from "../lib/artifacts/classes.ts";
import {
  checkServed,
  RANKS_FILES,
  writeRanks,
} from "../lib/artifacts/ranks.ts";
import { digestOf } from "../lib/artifacts/json_file.ts";
import { readFittingTokens } from "../lib/artifacts/tokens.ts";
import { readModel } from "../lib/artifacts/model.ts";
import { factorA, parameterLayout } from "../lib/engine/models/parameters.ts";
import { moduleOf } from "../lib/engine/adapters/peft.ts";
import type { Examples } from "../lib/engine/training/batch.ts";
import { methodName } from "../lib/engine/schedules/registry.ts";
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
  averageRank: z.number().min(1).describe(
    "Budget as the mean rank of all modules",
  ),
  selectOn: split.default("train").describe(
    "Split whose loss decides the ranks; must differ from split",
  ),
  examples: z.int().min(1).default(256).describe(
    "Maximum number of examples of selectOn to use, evenly spaced",
  ),
  split: split.default("validation").describe(
    "Split on which to score the chosen ranks and, for comparison, a uniform rank",
  ),
  batchSize: evaluationBatch,
  epoch,
  precision,
});

export default defineTask({
  description:
    "Choose a rank for each module of an adapter within a budget, greedily by the loss, and score the chosen ranks",
  params: Params,
  inputs: ADAPTER_INPUTS,
  output: { kind: "ranks", files: RANKS_FILES },
  needs: ["engine"],
  async run(stage) {
    const { adapterValues, loadFolder, startStageEngine } = await import(
      "../lib/stages/load_classifier.ts"
    );
    const { bestStep, ChoiceEvaluator, spreadExamples } = await import(
      "../lib/stages/rank_search.ts"
    );
    const { ScoredSplit } = await import("../lib/stages/scored_split.ts");
    const { params, inputs } = stage;
    const adapter = await readAdapter(inputs.adapter![0]!.path);
    const { training } = adapter;
    // The search starts at rank 1 in every module.
    checkServed(1, training);
    const tensors = tensorsOf(adapter, params.epoch);
    const folder = inputs.model![0]!.path;
    const adapted = parameterLayout(
      await readModel(folder),
      1,
      training,
    ).modules;
    const modules = adapted.map(({ name }) => moduleOf(factorA(name))!);
    const tokens = inputs.tokens![0]!.path;
    const info = await readFittingTokens(tokens, folder);
    checkClasses(training, info);
    const selection = new ScoredSplit(tokens, info, params.selectOn);
    const held = new ScoredSplit(tokens, info, params.split);
    if (selection.name === held.name) {
      throw new RangeError(
        `"selectOn" and "split" are both "${held.name}": choose and score the ranks on different splits`,
      );
    }
    const costs = adapted.map(({ inputs, outputs }) => inputs + outputs);
    const total = Math.floor(params.averageRank * sumOf(costs));
    const precision = await startStageEngine(stage);
    const classifier = loadFolder(folder, held.outputs, training);
    using evaluator = new ChoiceEvaluator(
      classifier,
      adapterValues({ tensors }, classifier.layout),
      training,
      { batchSize: params.batchSize, signal: stage.signal },
    );
    const subset = spreadExamples(selection.examples, params.examples);
    const budget = { costs, largest: training.rank, total };
    const steps = await searchRanks(
      stage,
      evaluator,
      subset,
      held.outputs,
      budget,
    );
    const { ranks, loss } = bestStep(steps);
    const examples = subset.labels.length;
    stage.log(
      `Ranks ${ranks.join(", ")}: loss ${
        loss.toFixed(4)
      } on ${examples} examples of ${selection.name}, ${
        steps[0]!.loss.toFixed(4)
      } at rank 1`,
    );
    const { chosen, even } = await scoreBesideEven(
      evaluator,
      held,
      ranks,
      budget,
    );
    await writeRanks(stage.output, {
      task: info.task,
      method: methodName(training),
      modules: new Map(modules.map((module, i) => [module, ranks[i]!])),
      choice: {
        seed: training.seed,
        training: await digestOf(
          join(inputs.adapter![0]!.path, "training.json"),
        ),
        epoch: params.epoch,
        budget: total,
        selection: {
          split: selection.name,
          examples,
          start: steps[0]!.loss,
          moves: steps.slice(1).map(({ raised, loss }) => ({
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

/** Runs the greedy search by the loss on the examples and reports its progress. */
async function searchRanks(
  stage: Pick<Stage<unknown>, "progress">,
  evaluator: ChoiceEvaluator,
  examples: Examples,
  outputs: number,
  budget: RankBudget,
): Promise<GreedyStep[]> {
  const { costs, largest, total } = budget;
  const start = sumOf(costs);
  const moves = Math.floor(
    (Math.min(total, start * largest) - start) / Math.min(...costs),
  );
  let move = 0;
  const { greedyRanks } = await import("../lib/stages/rank_search.ts");
  return await greedyRanks(budget, async (choices) => {
    const logits = await evaluator.logits(examples, choices);
    stage.progress(move++, moves, "moves");
    return logits.map((one) => meanLoss(one, examples.labels, outputs));
  });
}

/** Scores the chosen ranks, the largest uniform rank within the budget, and the whole adapter. */
async function scoreBesideEven(
  evaluator: ChoiceEvaluator,
  split: ScoredSplit,
  ranks: Choice,
  budget: RankBudget,
) {
  const { evenRank } = await import("../lib/stages/rank_search.ts");
  const even = [...new Set([evenRank(budget), budget.largest])];
  const choices = [ranks, ...even.map((rank) => ranks.map(() => rank))];
  const { examples, outputs } = split;
  const logits = await evaluator.logits(examples, choices);
  const [chosen, ...others] = logits.map((one, i) => ({
    parameters: sumOf(
      choices[i]!.map((rank, module) => rank * budget.costs[module]!),
    ),
    loss: meanLoss(one, examples.labels, outputs),
    metrics: split.score([0], one)[0]!.metrics,
  }));
  return {
    chosen: chosen!,
    even: even.map((rank, i) => ({ rank, ...others[i]! })),
  };
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
