import { evaluationBatchSize } from "../../lib/engine/evaluation/rank_evaluation.ts";
import type { Stage } from "../../lib/pipeline/task.ts";
import { readAdapter, tensorsOf } from "../artifacts/adapter.ts";
import type { Epoch } from "../artifacts/epoch.ts";
import { checkClasses } from "../artifacts/classes.ts";
import { checkRank } from "../artifacts/rank.ts";
import { readTokensInfo } from "../artifacts/tokens.ts";
import type { AdapterRecord } from "../artifacts/adapter_record.ts";
import { servedRanks } from "../artifacts/training.ts";
import { adapterValues } from "./adapter_values.ts";
import { loadClassifier } from "./load_classifier.ts";
import { ScoredSplit } from "./scored_split.ts";
import { startStageEngine } from "./start_stage_engine.ts";
import { writeSplitScores } from "./write_split_scores.ts";

/** Parameters of an evaluation. */
export interface EvaluationSettings {
  readonly split: string;
  readonly ranks?: readonly number[] | undefined;
  readonly batchSize?: number | undefined;
  readonly epoch: Epoch;
  readonly precision: "auto" | "f32" | "bf16";
}

/** Evaluates a stage's adapter and writes its scores as the stage's artifact. */
export async function evaluateAdapter(
  stage: Stage<EvaluationSettings>,
): Promise<void> {
  const { params } = stage;
  const adapter = await readAdapter(stage.inputs.adapter![0]!.path);
  const { training } = adapter;
  const tensors = tensorsOf(adapter, params.epoch);
  const tokensFolder = stage.inputs.tokens![0]!.path;
  const info = await readTokensInfo(tokensFolder);
  const split = new ScoredSplit(tokensFolder, info, params.split);
  const ranks = ranksToEvaluate(training, params.ranks);
  checkClasses(training, info);
  const precision = await startStageEngine(stage);
  const classifier = loadClassifier(
    stage.inputs.model![0]!.path,
    training.rank,
    split.outputs,
  );
  await writeSplitScores(
    stage,
    {
      classifier,
      values: adapterValues({ tensors }, classifier),
      origin: {
        method: training.method,
        seed: training.seed,
        epoch: params.epoch,
        precision,
      },
    },
    info,
    split,
    {
      alpha: training.alpha,
      scaling: training.scaling,
      ranks,
      batchSize: params.batchSize ?? evaluationBatchSize(ranks.length),
    },
  );
}

function ranksToEvaluate(
  training: AdapterRecord,
  asked: readonly number[] | undefined,
): number[] {
  if (asked !== undefined) {
    for (const rank of asked) checkRank(rank, training.rank);
    return [...new Set(asked)].sort((a, b) => a - b);
  }
  return servedRanks(training);
}
