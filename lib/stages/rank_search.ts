import { join } from "@std/path/posix/join";
import { digestOf } from "../artifacts/json_file.ts";
import { readModel } from "../artifacts/model.ts";
import { writeRanks } from "../artifacts/ranks.ts";
import { valuesPerRank } from "../engine/adapters/registry.ts";
import { peftName } from "../engine/models/peft.ts";
import { parameterLayout } from "../engine/models/parameters.ts";
import { methodName } from "../engine/schedules/registry.ts";
import { evaluator } from "../engine/training/evaluation.ts";
import type { EncodedExamples } from "../data/example.ts";
import { meanLoss } from "../data/metrics.ts";
import { type AdapterStage, openAdapter } from "./load_classifier.ts";
import { ScoredSplit } from "./scored_split.ts";

/** Chooses a rank for each module of the adapter of a stage, and scores the chosen ranks. */
export async function chooseRanks(
  stage: AdapterStage<{
    readonly averageRank: number;
    readonly selectOn: string;
    readonly examples: number;
    readonly split: string;
    readonly batchSize: number;
  }>,
): Promise<void> {
  const { params, inputs, signal } = stage;
  // The search starts at rank 1 in every module.
  const { training, info, load } = await openAdapter(stage, [1]);
  const model = readModel(inputs.model.path);
  const { kind, modules: adapted } = parameterLayout(model, 1, training);
  const modules = adapted.map(({ name }) => peftName(name));
  const tokens = inputs.tokens.path;
  const selection = new ScoredSplit(tokens, info, params.selectOn);
  const held = new ScoredSplit(tokens, info, params.split);
  if (selection.name === held.name) {
    throw new RangeError(
      `"selectOn" and "split" are both "${held.name}": choose and score the ranks on different splits`,
    );
  }
  const costs = adapted.map((it) => valuesPerRank(kind, it));
  const total = Math.floor(params.averageRank * sumOf(costs));
  const budget = { costs, largest: training.rank, total };
  const { precision, classifier, values, ...scale } = await load();
  const { batchSize } = params;
  using evaluate = evaluator(classifier, { ...scale, batchSize });
  /** Logits for each choice, `[examples, outputs]`. */
  const logitsOf = async (
    examples: EncodedExamples,
    choices: readonly RankPerModule[],
  ) => {
    const all: Float32Array[] = [];
    for (let start = 0; start < choices.length; start += CHOICES_PER_PASS) {
      const group = choices.slice(start, start + CHOICES_PER_PASS);
      const logits = await evaluate(values, group, examples, { signal });
      const size = logits.length / group.length;
      group.forEach((_, i) =>
        all.push(logits.subarray(i * size, (i + 1) * size))
      );
    }
    return all;
  };

  const subset = spreadExamples(selection.examples, params.examples);
  const lossOf = (
    logits: Float32Array,
    { labels }: Required<EncodedExamples>,
  ) => meanLoss(logits, labels, held.outputs);
  const least = sumOf(costs);
  const moves = Math.floor(
    (Math.min(total, least * training.rank) - least) / Math.min(...costs),
  );
  let move = 0;
  const steps = await greedyRanks(budget, async (choices) => {
    const logits = await logitsOf(subset, choices);
    stage.progress(move++, moves, "moves");
    return logits.map((it) => lossOf(it, subset));
  });
  const [start, ...raises] = steps as [GreedyStep, ...GreedyStep[]];
  const { ranks, loss } = bestStep(steps);
  const examples = subset.labels.length;
  stage.log(
    `Ranks ${ranks.join(", ")}: loss ${
      loss.toFixed(4)
    } on ${examples} examples of ${selection.name}, ${
      start.loss.toFixed(4)
    } at rank 1`,
  );

  // Compared with the largest uniform rank within the budget, and the whole adapter.
  const even = [...new Set([evenRank(budget), training.rank])];
  const choices = [ranks, ...even.map((rank) => ranks.map(() => rank))];
  const [chosen, ...others] = (await logitsOf(held.examples, choices)).map(
    (logits, i) => ({
      parameters: sumOf(
        choices[i]!.map((rank, module) => rank * costs[module]!),
      ),
      loss: lossOf(logits, held.examples),
      metrics: held.score([0], logits)[0]!.metrics,
    }),
  );
  await writeRanks(stage.output, {
    task: info.task,
    method: methodName(training),
    modules: new Map(modules.map((module, i) => [module, ranks[i]!])),
    choice: {
      seed: training.seed,
      training: await digestOf(
        join(inputs.adapter.path, "training.json"),
      ),
      epoch: params.epoch,
      budget: total,
      selection: {
        split: selection.name,
        examples,
        start: start.loss,
        moves: raises.map(({ raised, loss }) => ({
          module: modules[raised!]!,
          loss,
        })),
      },
      precision,
      split: held.name,
      examples: held.examples.labels.length,
      chosen: chosen!,
      even: even.map((rank, i) => ({ rank, ...others[i]! })),
    },
  });
}

/** A rank for each module, in the engine's order. */
type RankPerModule = readonly number[];

/** Choices per forward pass. */
const CHOICES_PER_PASS = 8;

/** A step of {@linkcode greedyRanks}. */
export interface GreedyStep {
  /** Index of the module whose rank was raised; undefined for the first step. */
  readonly raised: number | undefined;
  /** Rank of each module. */
  readonly ranks: readonly number[];
  readonly loss: number;
}

/** The limits of a search. */
export interface RankBudget {
  /** Values that each rank of a module has. */
  readonly costs: readonly number[];
  /** Maximum rank of a module. */
  readonly largest: number;
  /** Maximum number of values of all modules' ranks. */
  readonly total: number;
}

/**
 * Chooses ranks greedily: starting with rank 1 in every module, each step
 * raises by one the rank of the module that gives the smallest loss (the first
 * on a tie), until the budget is spent or every module has the maximum rank.
 *
 * @param lossesOf Computes the losses of several choices
 * @returns All steps, the start first
 * @throws {RangeError} If the budget is too small for rank 1 in every module, or a loss is NaN.
 */
export async function greedyRanks(
  { costs, largest, total }: RankBudget,
  lossesOf: (
    choices: readonly (readonly number[])[],
  ) => Promise<readonly number[]>,
): Promise<GreedyStep[]> {
  let spent = sumOf(costs);
  if (total < spent) {
    throw new RangeError(
      `A budget of ${total} parameters is too small: rank 1 in each of ${costs.length} modules takes ${spent}`,
    );
  }
  let ranks: readonly number[] = costs.map(() => 1);
  const [loss] = await lossesOf([ranks]);
  const steps: GreedyStep[] = [{ raised: undefined, ranks, loss: loss! }];
  while (true) {
    const open = ranks.flatMap((rank, i) =>
      rank < largest && spent + costs[i]! <= total ? [i] : []
    );
    if (open.length === 0) return steps;
    const choices = open.map((i) => ranks.with(i, ranks[i]! + 1));
    const losses = await lossesOf(choices);
    const best = losses.indexOf(Math.min(...losses));
    if (best < 0) {
      throw new RangeError(
        `A loss is NaN (losses ${
          losses.join(", ")
        }): the adapter's values are not finite`,
      );
    }
    const raised = open[best]!;
    ranks = choices[best]!;
    spent += costs[raised]!;
    steps.push({ raised, ranks, loss: losses[best]! });
  }
}

/** The step with the smallest loss; on a tie the earliest, which has the fewest parameters. */
export function bestStep(steps: readonly GreedyStep[]): GreedyStep {
  return steps.reduce((best, step) => step.loss < best.loss ? step : best);
}

/** The largest rank for all modules within the budget. */
export function evenRank({ costs, largest, total }: RankBudget): number {
  return Math.min(largest, Math.floor(total / sumOf(costs)));
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/** Selects up to a number of examples, evenly spaced. */
export function spreadExamples(
  { ids, types, offsets, index, labels }: Required<EncodedExamples>,
  most: number,
): Required<EncodedExamples> {
  const count = Math.min(most, labels.length);
  const chosen = Array.from(
    { length: count },
    (_, i) => Math.floor(i * labels.length / count),
  );
  const tokens = chosen.map((i) => ({
    from: offsets[i]!,
    to: offsets[i + 1]!,
  }));
  const ends = [0];
  for (const { from, to } of tokens) ends.push(ends.at(-1)! + to - from);
  const taken = (values: Int32Array | Uint8Array) =>
    tokens.flatMap(({ from, to }) => [...values.subarray(from, to)]);
  return {
    ids: Int32Array.from(taken(ids)),
    types: Uint8Array.from(taken(types)),
    offsets: Int32Array.from(ends),
    index: Int32Array.from(chosen, (i) => index[i]!),
    labels: Float32Array.from(chosen, (i) => labels[i]!),
  };
}
