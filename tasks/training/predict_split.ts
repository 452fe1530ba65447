import { evaluateRanks } from "../../lib/engine/evaluation/rank_evaluation.ts";
import { predictionsOf } from "../../lib/glue/metrics.ts";
import type { Stage } from "../../lib/pipeline/task.ts";
import { readAdapter, tensorsOf } from "../artifacts/adapter.ts";
import type { Epoch } from "../artifacts/epoch.ts";
import { checkClasses } from "../artifacts/classes.ts";
import { checkRank } from "../artifacts/rank.ts";
import { writePredictions } from "../artifacts/predictions.ts";
import { readFittingTokens } from "../artifacts/fitting_tokens.ts";
import { readTokens } from "../artifacts/tokens.ts";
import { adapterValues } from "./adapter_values.ts";
import { loadClassifier } from "./load_classifier.ts";
import { startStageEngine } from "./start_stage_engine.ts";

/** Parameters of a prediction. */
export interface PredictionSettings {
  readonly split: string;
  readonly rank?: number | undefined;
  readonly batchSize: number;
  readonly epoch: Epoch;
  readonly precision: "auto" | "f32" | "bf16";
}

/** Predicts a split with a stage's adapter and writes the stage's artifact. */
export async function predictSplit(
  stage: Stage<PredictionSettings>,
): Promise<void> {
  const { params, inputs, signal } = stage;
  const { split, batchSize } = params;
  const adapter = await readAdapter(inputs.adapter![0]!.path);
  const { alpha, scaling, rank: largest } = adapter.training;
  const tensors = tensorsOf(adapter, params.epoch);
  const rank = params.rank ?? largest;
  checkRank(rank, largest);
  const [model, folder] = [inputs.model![0]!.path, inputs.tokens![0]!.path];
  const info = await readFittingTokens(folder, model);
  const { index, ...tokens } = readTokens(folder, info, split);
  checkClasses(adapter.training, info);
  const precision = await startStageEngine(stage);
  const classes = info.labels?.length ?? 1;
  const classifier = loadClassifier(model, largest, classes);
  const logits = await evaluateRanks(
    classifier,
    adapterValues({ tensors }, classifier),
    // The forward pass does not look at labels.
    { ...tokens, labels: new Float32Array(index.length) },
    {
      alpha,
      scaling,
      ranks: [rank],
      batchSize,
      signal,
      progress: (done) => stage.progress(done, index.length, "examples"),
    },
  );
  await writePredictions(stage.output, {
    task: info.task,
    labels: info.labels,
    split,
    rank,
    precision,
  }, { index, predictions: predictionsOf(logits, classes) });
}
