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
import { checkSameLabels } from "../problems/registry.ts";
import { startStageEngine } from "./engine.ts";
import {
  type AdapterStage,
  loadFolder,
  logitsAt,
  openAdapter,
  type Ready,
} from "./load_classifier.ts";
import { readScoredSplit, type ScoredSplit } from "./scored_split.ts";
import type { RankChoice, UsageSettings } from "./settings.ts";

/** Evaluates the adapter of a stage at some of the ranks that it serves. */
export async function evaluateAdapter(
  stage: AdapterStage<{
    readonly split: string;
    readonly ranks: RankChoice;
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
    UsageSettings & { readonly split: string },
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
  stage: Stage<Pick<UsageSettings, "epoch">, unknown>,
  ready: Ready,
  info: TokensInfo,
  split: ScoredSplit,
  trained: Pick<ScoresInfo, "provenance" | "seed" | "training">,
  options: Pick<RankEvaluationOptions, "ranks" | "batchSize">,
): Promise<void> {
  const { examples } = split;
  const logits = await logitsAt(stage, ready, examples, options);
  await writeScores(stage.output, {
    ...taskFields(info),
    ...trained,
    epoch: stage.params.epoch,
    split: split.name,
    precision: ready.precision,
    examples: split.problem.units(examples.labels),
    tokens: examples.ids.length,
    flops: evaluationFlops(ready.classifier, examples, options),
    ranks: split.score(options.ranks, logits),
  }, { logits, labels: examples.labels, words: split.words });
}
