import { taskFields } from "../artifacts/classes.ts";
import {
  modelFolderOf,
  readClassifierTraining,
} from "../artifacts/classifier.ts";
import { openWeights } from "../artifacts/model.ts";
import { type ScoresInfo, writeScores } from "../artifacts/scores.ts";
import { readFittingTokens, type TokensInfo } from "../artifacts/tokens.ts";
import { readRecord, trainingDigest } from "../artifacts/training.ts";
import { fromTensors, parameterLayout } from "../engine/models/parameters.ts";
import { boundProvenance, provenanceOf } from "../engine/schedules/registry.ts";
import {
  evaluationBatchSize,
  evaluationFlops,
  type RankEvaluationOptions,
} from "../engine/training/evaluation.ts";
import type { InputArtifact, InputsOf, Stage } from "../pipeline/task.ts";
import { checkSameLabels, withThreshold } from "../problems/registry.ts";
import { startStageEngine } from "./engine.ts";
import {
  type AdapterStage,
  loadFolder,
  logitsAt,
  openAdapter,
  type Ready,
} from "./load_classifier.ts";
import { chosenToScore } from "./recommended_rank.ts";
import { readScoredSplit, type ScoredSplit } from "./scored_split.ts";
import type {
  REPORT_INPUT,
  ScoredRanks,
  ScoredThreshold,
  UsageSettings,
} from "./settings.ts";

/** Evaluates the adapter of a stage at some of the ranks that it serves. */
export async function evaluateAdapter(
  stage:
    & AdapterStage<{
      readonly split: string;
      readonly ranks: ScoredRanks;
      readonly threshold?: ScoredThreshold;
      readonly batchSize?: number | undefined;
    }>
    & { readonly inputs: InputsOf<typeof REPORT_INPUT> },
): Promise<void> {
  const { params, inputs } = stage;
  const record = await readRecord(inputs.adapter.path);
  const chosen = await chosenToScore(stage, record);
  const threshold: ScoredThreshold = params.threshold === "best"
    ? chosen.threshold ?? "best"
    : params.threshold;
  const opened = await openAdapter(stage, chosen.ranks);
  const { adapter: { training }, ranks, info, load } = opened;
  const split = readScoredSplit(inputs.tokens.path, info, params.split);
  const ready = await load();
  const batchSize = params.batchSize ?? evaluationBatchSize(ranks.length);
  // Embeddings need no training: a report says what it brings.
  const compared = split.problem.fromEmbeddings === undefined
    ? []
    : [{ ready: withoutAdapter(ready), ranks: [0], batchSize }];
  const scoring = { ...stage, params: { ...params, threshold } };
  await writeSplitScores(
    scoring,
    [...compared, { ready, ranks, batchSize }],
    info,
    split,
    {
      provenance: provenanceOf(training),
      seed: training.seed,
      training: await trainingDigest(inputs.adapter.path),
    },
  );
}

/** The model of an adapter as it is without one. */
function withoutAdapter({ classifier, ...ready }: Ready): Ready {
  const { model, layout } = classifier;
  return {
    ...ready,
    classifier: {
      ...classifier,
      layout: parameterLayout(model, layout.outputs, "head"),
    },
    values: new Float32Array(),
    heads: undefined,
  };
}

/**
 * Evaluates the model of a stage, which was trained without adapters, at rank
 * 0.
 */
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
  const { batchSize } = params;
  await writeSplitScores(
    stage,
    [{ ready, ranks: [0], batchSize }],
    info,
    split,
    {
      provenance: boundProvenance(training.method),
      seed: training.seed,
      training: await trainingDigest(model.path),
    },
  );
}

/** A classifier and the ranks at which it is evaluated. */
interface Evaluation
  extends Pick<RankEvaluationOptions, "ranks" | "batchSize"> {
  readonly ready: Ready;
}

/**
 * Evaluates classifiers on a split, one after the other, and writes an artifact
 * of kind `scores` with the ranks of all.
 */
async function writeSplitScores(
  stage: Stage<
    Pick<UsageSettings, "epoch"> & { readonly threshold?: ScoredThreshold },
    Readonly<Record<"tokens", InputArtifact>>
  >,
  evaluations: readonly Evaluation[],
  info: TokensInfo,
  split: ScoredSplit,
  trained: Pick<ScoresInfo, "provenance" | "seed" | "training">,
): Promise<void> {
  const { examples, evaluated } = split;
  const ranks = evaluations.flatMap(({ ranks }) => ranks);
  const parts: Float32Array[] = [];
  let flops = 0;
  for (const { ready, ...options } of evaluations) {
    const outputs = await logitsAt(stage, ready, evaluated, options);
    parts.push(split.logitsOf(options.ranks.length, outputs));
    flops += evaluationFlops(ready.classifier, evaluated, options);
  }
  const logits = joined(parts);
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
    precision: evaluations[0]!.ready.precision,
    examples: split.problem.units(examples.labels),
    tokens: evaluated.ids.length,
    flops,
    ranks: scored.score(ranks, logits),
  }, { logits, labels: examples.labels, words: split.words });
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const [first] = parts;
  if (parts.length === 1) return first!;
  const all = new Float32Array(
    parts.reduce((sum, { length }) => sum + length, 0),
  );
  let end = 0;
  for (const part of parts) {
    all.set(part, end);
    end += part.length;
  }
  return all;
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
