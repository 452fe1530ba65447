import * as tf from "@tensorflow/tfjs-core";
import type { Examples } from "../../lib/engine/batches.ts";
import {
  type GroupEvaluator,
  groupEvaluator,
} from "../../lib/engine/group_evaluation.ts";
import { rankScale } from "../../lib/engine/rank_vectors.ts";
import { type EngineSettings, startEngine } from "../../lib/engine/start.ts";
import { meanLoss } from "../../lib/glue/loss.ts";
import type { Stage } from "../../lib/pipeline/task.ts";
import { bestStep, greedyRanks } from "../adapters/greedy_ranks.ts";
import {
  type AdapterEpoch,
  readAdapter,
  tensorsOf,
} from "../artifacts/adapter.ts";
import type { AdapterRecord } from "../artifacts/adapter_record.ts";
import { modulesOf, writeRanks } from "../artifacts/module_ranks.ts";
import { readTokensInfo } from "../artifacts/tokens.ts";
import { adapterValues } from "./adapter_values.ts";
import { loadClassifier, type LoadedClassifier } from "./load_classifier.ts";
import { ScoredSplit } from "./scored_split.ts";

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

/** Choices that are evaluated in one pass. */
const GROUPS = 8;

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

  const subset = spread(selection.examples, params.examples);
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

/** Logits of the examples at several choices of ranks, a few of them in each pass. */
async function evaluateChoices(
  evaluate: GroupEvaluator,
  values: Float32Array,
  { layout }: LoadedClassifier,
  { alpha, scaling }: AdapterRecord,
  examples: Examples,
  choices: readonly (readonly number[])[],
  signal: AbortSignal,
): Promise<Float32Array[]> {
  const results: Float32Array[] = [];
  for (let start = 0; start < choices.length; start += GROUPS) {
    const group = choices.slice(start, start + GROUPS);
    const modules = group[0]!.map((_, module) =>
      group.flatMap((ranks) => [
        ...rankScale(ranks[module]!, alpha, layout.rank, scaling),
      ])
    );
    const scale = tf.tensor3d(modules.flat(), [
      modules.length,
      group.length,
      layout.rank,
    ]);
    const logits = await evaluate(values, scale, examples, { signal });
    scale.dispose();
    const size = logits.length / group.length;
    results.push(
      ...group.map((_, i) => logits.subarray(i * size, (i + 1) * size)),
    );
  }
  return results;
}

/** At most so many examples, spread evenly over all. */
function spread(
  { ids, types, offsets, labels }: Examples,
  most: number,
): Examples {
  const count = Math.min(most, labels.length);
  const chosen = Array.from(
    { length: count },
    (_, i) => Math.floor(i * labels.length / count),
  );
  const spans = chosen.map((i) => [offsets[i]!, offsets[i + 1]!] as const);
  const ends = [0];
  for (const [from, to] of spans) ends.push(ends.at(-1)! + to - from);
  return {
    ids: Int32Array.from(spans.flatMap(([a, b]) => [...ids.subarray(a, b)])),
    types: Uint8Array.from(
      spans.flatMap(([a, b]) => [...types.subarray(a, b)]),
    ),
    offsets: Int32Array.from(ends),
    labels: Float32Array.from(chosen, (i) => labels[i]!),
  };
}

/** Modules in the engine's order: by layer, query before value. */
function byPlace(a: string, b: string): number {
  const layer = (name: string) => Number(name.split(".")[1]);
  return layer(a) - layer(b) || (a < b ? -1 : 1);
}

function sumOf(ranks: readonly number[]): number {
  return ranks.reduce((sum, rank) => sum + rank, 0);
}
