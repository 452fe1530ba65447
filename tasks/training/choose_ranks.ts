import type { Examples } from "../../lib/engine/batches.ts";
import { groupEvaluator } from "../../lib/engine/group_evaluation.ts";
import { type EngineSettings, startEngine } from "../../lib/engine/start.ts";
import { meanLoss } from "../../lib/glue/loss.ts";
import type { Stage } from "../../lib/pipeline/task.ts";
import { bestStep, greedyRanks } from "../adapters/greedy_ranks.ts";
import {
  type AdapterEpoch,
  readAdapter,
  tensorsOf,
} from "../artifacts/adapter.ts";
import { modulesOf, writeRanks } from "../artifacts/module_ranks.ts";
import { readTokensInfo } from "../artifacts/tokens.ts";
import { adapterValues } from "./adapter_values.ts";
import { evaluateChoices } from "./evaluate_choices.ts";
import { loadClassifier } from "./load_classifier.ts";
import { ScoredSplit } from "./scored_split.ts";
import { spreadExamples } from "./spread_examples.ts";

/** Parameters of a choice of ranks. */
export interface ChoiceSettings {
  readonly averageRank?: number | undefined;
  readonly parameters?: number | undefined;
  readonly selectOn: string;
  readonly examples: number;
  readonly split: string;
  readonly batchSize: number;
  readonly epoch: AdapterEpoch;
  readonly precision: "auto" | "f32" | "bf16";
}

/** Chooses a rank for each module of a stage's adapter and writes the stage's artifact. */
export async function chooseRanks(
  stage: Stage<ChoiceSettings>,
): Promise<void> {
  const { params, inputs } = stage;
  const adapter = await readAdapter(inputs.adapter![0]!.path);
  const { training } = adapter;
  const tensors = tensorsOf(adapter, params.epoch);
  const modules = modulesOf(Object.keys(tensors)).sort(byPlace);
  const tokens = inputs.tokens![0]!.path;
  const info = await readTokensInfo(tokens);
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
  const engine = stage.facilities.engine as unknown as EngineSettings;
  await startEngine(engine, { cpus: stage.cpus, precision: params.precision });
  const classifier = loadClassifier(
    inputs.model![0]!.path,
    training.rank,
    held.outputs,
  );
  const values = adapterValues({ tensors }, classifier);
  const evaluate = groupEvaluator(classifier, params.batchSize);
  const logitsOf = (
    examples: Examples,
    choices: readonly (readonly number[])[],
  ) =>
    evaluateChoices(
      evaluate,
      values,
      classifier,
      training,
      examples,
      choices,
      stage.signal,
    );

  const subset = spreadExamples(selection.examples, params.examples);
  const moves = Math.min(total, modules.length * training.rank) -
    modules.length;
  let move = 0;
  const way = await greedyRanks(
    { modules: modules.length, largest: training.rank, total },
    async (choices) => {
      const logits = await logitsOf(subset, choices);
      stage.progress(move++, moves, "moves");
      return logits.map((one) =>
        meanLoss(one, subset.labels, selection.outputs)
      );
    },
  );
  const { ranks, loss } = bestStep(way);
  const sum = sumOf(ranks);
  stage.log(
    `Ranks ${ranks.join(", ")}: loss ${
      loss.toFixed(4)
    } on ${subset.labels.length} examples of ${selection.name}, ${
      way[0]!.loss.toFixed(4)
    } at rank 1`,
  );
  // What one rank for all costs no more, and what the whole adapter does.
  const even = [
    ...new Set([Math.max(1, Math.floor(sum / modules.length)), training.rank]),
  ];
  const scored = [
    ranks,
    ...even.map((rank) => Array<number>(modules.length).fill(rank)),
  ];
  const scores = (await logitsOf(held.examples, scored)).map((logits, i) => ({
    parameters: sumOf(scored[i]!) * perRank,
    loss: meanLoss(logits, held.examples.labels, held.outputs),
    metrics: held.score([0], logits)[0]!.metrics,
  }));
  evaluate.dispose();
  await writeRanks(stage.output, {
    task: info.task,
    method: training.method,
    modules: new Map(modules.map((module, i) => [module, ranks[i]!])),
    choice: {
      budget: Math.floor(total * perRank),
      selection: {
        split: selection.name,
        examples: subset.labels.length,
        start: way[0]!.loss,
        moves: way.slice(1).map(({ raised, loss }) => ({
          module: modules[raised!]!,
          loss,
        })),
      },
      split: held.name,
      examples: held.examples.labels.length,
      chosen: scores[0]!,
      even: even.map((rank, i) => ({ rank, ...scores[i + 1]! })),
    },
  });
}

/** The budget as a sum of ranks. */
function totalRank(
  { averageRank, parameters }: ChoiceSettings,
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
