import { taskFields } from "../artifacts/classes.ts";
import {
  modelFolderOf,
  readClassifierTraining,
} from "../artifacts/classifier.ts";
import { openWeights } from "../artifacts/model.ts";
import { type ScoresInfo, writeScores } from "../artifacts/scores.ts";
import { readFittingTokens, type TokensInfo } from "../artifacts/tokens.ts";
import { trainingDigest } from "../artifacts/training.ts";
import { fromTensors } from "../engine/models/parameters.ts";
import { boundProvenance, provenanceOf } from "../engine/schedules/registry.ts";
import {
  evaluationBatchSize,
  evaluationFlops,
  type RankEvaluationOptions,
} from "../engine/training/evaluation.ts";
import type { InputArtifact, Stage } from "../pipeline/task.ts";
import { checkSameLabels, withThreshold } from "../problems/registry.ts";
import { startStageEngine } from "./engine.ts";
import {
  type AdapterStage,
  loadFolder,
  logitsAt,
  openAdapter,
  type Ready,
} from "./load_classifier.ts";
import { readScoredSplit, type ScoredSplit } from "./scored_split.ts";
import type { RankChoice, ScoredThreshold, UsageSettings } from "./settings.ts";

/** Evaluates the adapter of a stage at some of the ranks that it serves. */
export async function evaluateAdapter(
  stage: AdapterStage<{
    readonly split: string;
    readonly ranks: RankChoice;
    readonly threshold?: ScoredThreshold;
    readonly batchSize?: number | undefined;
  }>,
): Promise<void> {
  const { params, inputs } = stage;
  const opened = await openAdapter(stage, params.ranks);
  const { adapter: { training }, ranks, info, load } = opened;
  const split = readScoredSplit(inputs.tokens.path, info, params.split);
  await writeSplitScores(stage, await load(), info, split, {
    provenance: provenanceOf(training),
    seed: training.seed,
    training: await trainingDigest(inputs.adapter.path),
  }, {
    ranks,
    batchSize: params.batchSize ?? evaluationBatchSize(ranks.length),
  });
}

/** Evaluates the model of a stage, which was trained without adapters, at rank 0. */
export async function evaluateModel(
  stage: Stage<
    UsageSettings & {
      readonly split: string;
      readonly threshold?: ScoredThreshold;
    },
    Readonly<Record<"model" | "tokens", InputArtifact>>
  >,
): Promise<void> {
  const { params, inputs: { model, tokens } } = stage;
  const training = await readClassifierTraining(model.path);
  const folder = modelFolderOf(model.path, training, params.epoch);
  const info = await readFittingTokens(tokens.path, folder);
  const split = readScoredSplit(tokens.path, info, params.split);
  checkSameLabels(training, info);
  const precision = await startStageEngine(stage, stage.params.precision);
  const classifier = loadFolder(folder, split.problem, "head");
  using file = openWeights(folder);
  const values = fromTensors((name) => file.floats(name), classifier.layout);
  const plain = { alpha: 1, scaling: "rank", heads: undefined } as const;
  const ready = { folder, classifier, values, precision, ...plain };
  await writeSplitScores(stage, ready, info, split, {
    provenance: boundProvenance(training.method),
    seed: training.seed,
    training: await trainingDigest(model.path),
  }, { ranks: [0], batchSize: params.batchSize });
}

/** Evaluates a classifier on a split and writes an artifact of kind `scores`. */
async function writeSplitScores(
  stage: Stage<
    Pick<UsageSettings, "epoch"> & { readonly threshold?: ScoredThreshold },
    Readonly<Record<"tokens", InputArtifact>>
  >,
  ready: Ready,
  info: TokensInfo,
  split: ScoredSplit,
  trained: Pick<ScoresInfo, "provenance" | "seed" | "training">,
  options: Pick<RankEvaluationOptions, "ranks" | "batchSize">,
): Promise<void> {
  const { examples } = split;
  const logits = await logitsAt(stage, ready, examples, options);
  const { ranks } = options;
  const threshold = thresholdOf(stage, split, ranks.length, logits);
  const decided = withThreshold(info, threshold);
  const scored = decided === info
    ? split
    : readScoredSplit(stage.inputs.tokens.path, decided, split.name);
  await writeScores(stage.output, {
    ...taskFields(decided),
    ...stage.params.threshold === "best" && { isBestThreshold: true },
    ...trained,
    epoch: stage.params.epoch,
    split: split.name,
    precision: ready.precision,
    examples: split.problem.units(examples.labels),
    tokens: examples.ids.length,
    flops: evaluationFlops(ready.classifier, examples, options),
    ranks: scored.score(ranks, logits),
  }, { logits, labels: examples.labels, words: split.words });
}

/** The threshold that a stage asks for, if it does. */
function thresholdOf(
  { params: { threshold }, log }: Pick<
    Stage<{ readonly threshold?: ScoredThreshold }, unknown>,
    "params" | "log"
  >,
  { name, examples, metrics: [metric], problem, predictionsAt }: ScoredSplit,
  ranks: number,
  logits: Float32Array,
): number | undefined {
  if (threshold !== "best") return threshold ?? undefined;
  if (problem.bestThreshold === undefined) {
    throw new RangeError(
      '"threshold: best" applies to texts that may have several labels: remove it',
    );
  }
  const predictions = predictionsAt(ranks, logits);
  const best = problem.bestThreshold(metric!, predictions, examples.labels);
  log(`Best threshold on ${name}, by ${metric}: ${best.value}`);
  return best.value;
}
