import { join } from "node:path";
import { evaluationBatchSize } from "../../lib/engine/evaluation/rank_evaluation.ts";
import type { Stage } from "../../lib/pipeline/task.ts";
import { readAdapter, tensorsOf } from "../artifacts/adapter.ts";
import { digestOf } from "../artifacts/digest.ts";
import type { Epoch } from "../artifacts/epoch.ts";
import { checkClasses } from "../artifacts/classes.ts";
import { checkRank } from "../artifacts/rank.ts";
import { readFittingTokens } from "../artifacts/fitting_tokens.ts";
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
  const folder = stage.inputs.adapter![0]!.path;
  const adapter = await readAdapter(folder);
  const { training } = adapter;
  const tensors = tensorsOf(adapter, params.epoch);
  const tokensFolder = stage.inputs.tokens![0]!.path;
  const model = stage.inputs.model![0]!.path;
  const info = await readFittingTokens(tokensFolder, model);
  const split = new ScoredSplit(tokensFolder, info, params.split);
  const ranks = ranksToEvaluate(training, params.ranks);
  checkClasses(training, info);
  const precision = await startStageEngine(stage);
  const classifier = loadClassifier(
    model,
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
        training: await digestOf(join(folder, "training.json")),
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

/** @throws {RangeError} If a rank is asked for that was not trained. */
function ranksToEvaluate(
  training: AdapterRecord,
  asked: readonly number[] | undefined,
): number[] {
  const served = servedRanks(training);
  if (asked === undefined) return served;
  for (const rank of asked) {
    checkRank(rank, training.rank);
    if (served.includes(rank)) continue;
    throw new RangeError(
      served.length === 1
        ? `A LoRA of rank ${training.rank} has no rank ${rank}: cut it by reduce-adapter, so that it is not taken for a LoRA trained at that rank`
        : `Rank ${rank} was not trained: the adapter has the ranks from ${
          served[0]
        }`,
    );
  }
  return [...new Set(asked)].sort((a, b) => a - b);
}
