import { join } from "node:path";
import { loadCheckpoint, saveCheckpoint } from "../../lib/engine/checkpoint.ts";
import { initialParameters } from "../../lib/engine/parameters.ts";
import type { Matryoshka } from "../../lib/engine/matryoshka.ts";
import { toPeftTensors } from "../../lib/engine/peft_adapter.ts";
import { measureProductPeak } from "../../lib/engine/product_peak.ts";
import { seededRandom } from "../../lib/engine/random.ts";
import type { RankScope } from "../../lib/engine/rank_draws.ts";
import type { UpdateMode } from "../../lib/engine/rank_vectors.ts";
import { type EngineSettings, startEngine } from "../../lib/engine/start.ts";
import { Stopwatch } from "../../lib/engine/stopwatch.ts";
import { train } from "../../lib/engine/train.ts";
import type { Stage } from "../../lib/pipeline/task.ts";
import { readAdapter, writeAdapter } from "../artifacts/adapter.ts";
import { readModelOrigin } from "../artifacts/model.ts";
import type { Sampler } from "../artifacts/sampler.ts";
import { readTokens, readTokensInfo } from "../artifacts/tokens.ts";
import {
  SELECTION_SECONDS,
  servedRanks,
  STEP_SECONDS,
  TRAINING_SECONDS,
} from "../artifacts/training.ts";
import { EpochSelection } from "./epoch_selection.ts";
import { loadClassifier } from "./load_classifier.ts";
import { ScoredSplit } from "./scored_split.ts";
import { progressReporter } from "./report_progress.ts";
import { startFrom } from "./start_adapter.ts";
import { trainingOptions, type TrainingSettings } from "./settings.ts";

/** What DyLoRA adds to LoRA: which rank a step draws, and what it trains. */
export interface RankTraining {
  readonly method: "dylora" | "lora" | "matryoshka";
  readonly mode: UpdateMode;
  readonly sampler: Sampler;
  readonly scope: RankScope;
  readonly matryoshka?: Matryoshka;
}

/** Trains an adapter on a stage's tokens and writes it as the stage's artifact. */
export async function trainAdapter(
  stage: Stage<TrainingSettings>,
  { method, mode, sampler, scope, matryoshka }: RankTraining,
): Promise<void> {
  const { params } = stage;
  const stopwatch = new Stopwatch();
  stopwatch.start();
  const tokensFolder = stage.inputs.tokens![0]!.path;
  const info = await readTokensInfo(tokensFolder);
  const { labels, ...tokens } = readTokens(tokensFolder, info, "train");
  if (labels === undefined) {
    throw new Error(`The training split of "${info.task}" has no labels`);
  }
  const baseModel = await readModelOrigin(stage.inputs.model![0]!.path);
  const startFolder = stage.inputs.start?.[0]?.path;
  const start = startFolder === undefined
    ? undefined
    : await readAdapter(startFolder);
  const held = params.selectOn === "none"
    ? undefined
    : new ScoredSplit(tokensFolder, info, params.selectOn);
  const engine = stage.facilities.engine as unknown as EngineSettings;
  const precision = await startEngine(engine, {
    cpus: stage.cpus,
    precision: params.precision,
  });
  const classifier = loadClassifier(
    stage.inputs.model![0]!.path,
    params.rank,
    info.labels?.length ?? 1,
  );
  const { config, layout, pooler } = classifier;
  const fresh = initialParameters(
    layout,
    pooler,
    seededRandom(params.seed, "init"),
  );
  const initial = start === undefined
    ? fresh
    : startFrom(start, fresh, classifier, {
      alpha: params.alpha,
      baseModel,
    });
  const checkpoint = join(stage.checkpoint, "training.safetensors");
  const resume = loadCheckpoint(checkpoint, layout.size);
  if (resume !== undefined) {
    stage.log(`Resumes after step ${resume.progress.step}`);
  }

  const scaling = method === "lora" ? "maximum" : "rank";
  const selection = held && new EpochSelection(
    held,
    classifier,
    {
      alpha: params.alpha,
      scaling,
      ranks: servedRanks({ method, rank: params.rank, sampler }),
    },
    stage,
  );
  const peak = measureProductPeak(config);
  const result = await train(
    classifier,
    initial,
    { ...tokens, labels },
    {
      ...trainingOptions(params, info.maxLength),
      mode,
      sampler,
      scope,
      matryoshka,
    },
    {
      resume,
      evaluate: selection && ((values) => selection.evaluate(values)),
      stopwatch,
      signal: stage.signal,
      save: (state) => saveCheckpoint(checkpoint, state),
      report: progressReporter(stage, peak),
    },
  );
  stage.metric(STEP_SECONDS, result.msPerStep / 1000);
  stage.metric(TRAINING_SECONDS, result.seconds);
  if (selection !== undefined) {
    stage.metric(SELECTION_SECONDS, result.evaluationSeconds);
  }
  const dylora = method === "dylora";
  const tensors = (values: Float32Array) =>
    toPeftTensors(values, layout, config.architecture, layout.rank);
  await writeAdapter(stage.output, {
    baseModel,
    training: {
      method,
      task: info.task,
      labels: info.labels,
      rank: params.rank,
      alpha: params.alpha,
      scaling,
      mode: dylora ? mode : null,
      sampler: dylora ? sampler : null,
      scope: dylora ? scope : null,
      matryoshka: matryoshka === undefined ? null : {
        objective: matryoshka.objective,
        ranks: [...matryoshka.ranks],
        weights: [...matryoshka.weights],
      },
      seed: params.seed,
      start: start === undefined ? null : {
        method: start.training.method,
        task: start.training.task,
        seed: start.training.seed,
      },
      epochs: params.epochs,
      steps: result.steps,
      batchSize: params.batchSize * params.accumulation,
      padding: params.padding,
      learningRate: params.learningRate,
      weightDecay: params.weightDecay,
      warmupRatio: params.warmupRatio,
      precision,
      engine: engine.engine,
      examples: labels.length * params.epochs,
      tokens: result.tokens,
      paddedTokens: result.paddedTokens,
      flops: result.flops,
      losses: [...result.losses],
      selection: selection?.record(result.epochs) ?? null,
    },
    tensors: tensors(result.values),
    best: result.best && tensors(result.best),
  });
  selection?.dispose();
}
