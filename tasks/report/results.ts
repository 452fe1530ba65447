import { GLUE_TASKS } from "../../lib/glue/benchmark.ts";
import { predictionsOf } from "../../lib/glue/metrics.ts";
import type { InputArtifact } from "../../lib/pipeline/task.ts";
import type {
  RankResult,
  Result,
  TrainingCost,
  Variant,
} from "../../lib/report/result.ts";
import {
  readOutputs,
  readScores,
  type ScoresInfo,
} from "../artifacts/scores.ts";
import {
  SELECTION_SECONDS,
  STEP_SECONDS,
  type Training,
  TRAINING_SECONDS,
} from "../artifacts/training.ts";
import {
  artifactOf,
  originOf,
  readAdapters,
  readClassifiers,
  type TrainedArtifact,
} from "./trainings.ts";

/** Reads scores, and with each how what they belong to was made and what that cost. */
export async function readResults(
  scores: readonly InputArtifact[],
  adapters: readonly InputArtifact[],
  classifiers: readonly InputArtifact[],
): Promise<Result[]> {
  const trainings = [
    ...await readAdapters(adapters),
    ...await readClassifiers(classifiers),
  ];
  return Promise.all(scores.map((artifact) => readResult(artifact, trainings)));
}

async function readResult(
  artifact: InputArtifact,
  trainings: readonly TrainedArtifact[],
): Promise<Result> {
  const info = await readScores(artifact.path);
  const adapter = artifactOf(artifact, info, trainings);
  const origin = originOf(adapter, trainings);
  const { logits, labels } = readOutputs(artifact.path, info);
  return {
    task: info.task,
    title: titleOf(info.task),
    split: info.split,
    epoch: info.epoch,
    method: info.method,
    variant: variantOf(artifact.matrix),
    seed: info.seed,
    labels,
    classes: info.labels !== null,
    precision: info.precision,
    ranks: rankResults(info, logits),
    training: costOf(origin),
    reductionSeconds: adapter === origin ? 0 : secondsOf(adapter.artifact),
    evaluationSeconds: secondsOf(artifact),
    evaluationFlops: info.flops,
  };
}

/** A task's name as GLUE writes it; one's own as it is. */
export function titleOf(task: string): string {
  return Object.hasOwn(GLUE_TASKS, task)
    ? GLUE_TASKS[task as keyof typeof GLUE_TASKS].title
    : task;
}

function rankResults(
  { ranks, labels, examples }: ScoresInfo,
  logits: Float32Array,
): RankResult[] {
  const outputs = labels?.length ?? 1;
  const size = examples * outputs;
  return ranks.map(({ rank, metrics }, i) => ({
    rank,
    metrics,
    predictions: predictionsOf(
      logits.subarray(i * size, (i + 1) * size),
      outputs,
    ),
  }));
}

/** The scale at rank b in words; a LoRA of one rank has no choice. */
function scaleOf(
  adapter: Pick<Training, "method" | "scaling"> | undefined,
): string | undefined {
  if (adapter === undefined || adapter.method === "lora") return undefined;
  return adapter.scaling === "rank" ? "alpha / b" : "alpha / R";
}

/** What a training cost; undefined of an adapter that was trained elsewhere. */
function costOf(
  { artifact, training }: TrainedArtifact,
): TrainingCost | undefined {
  if (!("steps" in training)) return undefined;
  const { epochs, batchSize, learningRate, precision, engine } = training;
  const adapter = "alpha" in training ? training : undefined;
  return {
    rank: adapter?.rank ?? 0,
    settings: {
      epochs,
      batchSize,
      learningRate,
      alpha: adapter?.alpha,
      scale: scaleOf(adapter),
      precision,
      engine,
      start: adapter?.start?.task,
    },
    seconds: metricOf(artifact, TRAINING_SECONDS),
    stepSeconds: metricOf(artifact, STEP_SECONDS),
    steps: training.steps,
    examples: training.examples,
    flops: training.flops,
    selection: training.selection
      ? {
        split: training.selection.split,
        seconds: metricOf(artifact, SELECTION_SECONDS),
        flops: training.selection.flops,
      }
      : undefined,
  };
}

/** Dimensions that the scores' files tell themselves; any other makes a variant. */
const COMMON = [
  "glue",
  "task",
  "seed",
  "rank",
  "split",
  "epoch",
  "method",
  "by",
];

/** What tells an artifact from others of its method: the dimensions of its matrix that its files do not tell. */
export function variantOf(matrix: InputArtifact["matrix"]): Variant {
  return Object.fromEntries(
    Object.entries(matrix).filter(([key]) => !COMMON.includes(key)).sort(),
  );
}

function secondsOf({ stage, seconds }: InputArtifact): number {
  if (seconds !== undefined) return seconds;
  throw new TypeError(`No seconds are recorded for "${stage}"`);
}

function metricOf({ stage, metrics }: InputArtifact, name: string): number {
  const value = metrics?.[name];
  if (value !== undefined) return value;
  throw new TypeError(
    `"${stage}" reported no "${name}"; run it again with \`--force\``,
  );
}
