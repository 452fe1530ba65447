import {
  evaluateRanks,
  evaluationFlops,
} from "../../lib/engine/rank_evaluation.ts";
import { type EngineSettings, startEngine } from "../../lib/engine/start.ts";
import { metricsOf } from "../../lib/glue/benchmark.ts";
import { computeMetrics } from "../../lib/glue/metrics.ts";
import { predictionsOf } from "../../lib/glue/predictions.ts";
import type { Stage } from "../../lib/pipeline/task.ts";
import { readAdapter } from "../artifacts/adapter.ts";
import { writeScores } from "../artifacts/scores.ts";
import {
  readTokens,
  readTokensInfo,
  type TokensInfo,
} from "../artifacts/tokens.ts";
import type { Training } from "../artifacts/training.ts";
import { adapterValues } from "./adapter_values.ts";
import { loadClassifier } from "./load_classifier.ts";

/** Parameters of an evaluation. */
export interface EvaluationSettings {
  readonly split: string;
  readonly ranks?: readonly number[] | undefined;
  readonly batchSize: number;
  readonly precision: "auto" | "f32" | "bf16";
}

/** Evaluates a stage's adapter and writes its scores as the stage's artifact. */
export async function evaluateAdapter(
  stage: Stage<EvaluationSettings>,
): Promise<void> {
  const { params } = stage;
  const { training, tensors } = await readAdapter(
    stage.inputs.adapter![0]!.path,
  );
  const tokensFolder = stage.inputs.tokens![0]!.path;
  const info = await readTokensInfo(tokensFolder);
  const split = splitOf(info, params.split);
  const { labels, ...tokens } = readTokens(tokensFolder, info, split);
  if (labels === undefined) {
    throw new Error(
      `Split "${split}" of "${info.task}" has no labels to evaluate against`,
    );
  }
  const ranks = ranksToEvaluate(training, params.ranks);
  const engine = stage.facilities.engine as unknown as EngineSettings;
  await startEngine(engine, { cpus: stage.cpus, precision: params.precision });
  const classes = info.labels?.length ?? 1;
  const classifier = loadClassifier(
    stage.inputs.model![0]!.path,
    training.rank,
    classes,
  );
  const logits = await evaluateRanks(
    classifier,
    adapterValues({ tensors }, classifier),
    { ...tokens, labels },
    {
      alpha: training.alpha,
      scaling: training.scaling,
      ranks,
      batchSize: params.batchSize,
      signal: stage.signal,
      progress: (done) => stage.progress(done, labels.length, "examples"),
    },
  );
  const size = labels.length * classes;
  await writeScores(stage.output, {
    task: info.task,
    labels: info.labels,
    method: training.method,
    seed: training.seed,
    split,
    examples: labels.length,
    tokens: tokens.ids.length,
    flops: evaluationFlops(classifier, { ...tokens, labels }, {
      ranks,
      batchSize: params.batchSize,
    }),
    ranks: ranks.map((rank, i) => ({
      rank,
      metrics: scoresOf(
        info,
        predictionsOf(logits.subarray(i * size, (i + 1) * size), classes),
        labels,
      ),
    })),
  }, { logits, labels });
}

/** MNLI has two validation sets; where just "validation" is asked for, it is the matched one. */
function splitOf({ splits }: TokensInfo, asked: string): string {
  const matched = `${asked}_matched`;
  return !Object.hasOwn(splits, asked) && Object.hasOwn(splits, matched)
    ? matched
    : asked;
}

function ranksToEvaluate(
  training: Training,
  asked: readonly number[] | undefined,
): number[] {
  if (asked !== undefined) {
    const beyond = asked.find((rank) => rank > training.rank);
    if (beyond !== undefined) {
      throw new RangeError(
        `Rank ${beyond} is beyond the adapter's rank ${training.rank}`,
      );
    }
    return [...new Set(asked)].sort((a, b) => a - b);
  }
  if (training.method === "lora") return [training.rank];
  return Array.from({ length: training.rank }, (_, i) => i + 1);
}

function scoresOf(
  { task, labels }: TokensInfo,
  predicted: Float32Array,
  expected: Float32Array,
): Record<string, number> {
  return computeMetrics(metricsOf(task, labels), predicted, expected) as Record<
    string,
    number
  >;
}
