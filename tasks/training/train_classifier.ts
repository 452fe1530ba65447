import { join } from "node:path";
import { loadCheckpoint, saveCheckpoint } from "../../lib/engine/checkpoint.ts";
import type { Classifier } from "../../lib/engine/classifier.ts";
import { toClassifierTensors } from "../../lib/engine/fine_tuning/classifier_tensors.ts";
import {
  initialParameters,
  parameterLayout,
} from "../../lib/engine/parameters.ts";
import { measureProductPeak } from "../../lib/engine/product_peak.ts";
import { seededRandom } from "../../lib/engine/random.ts";
import { type EngineSettings, startEngine } from "../../lib/engine/start.ts";
import { Stopwatch } from "../../lib/engine/stopwatch.ts";
import { train } from "../../lib/engine/train.ts";
import type { Stage } from "../../lib/pipeline/task.ts";
import {
  type ClassifierTraining,
  writeClassifier,
} from "../artifacts/classifier.ts";
import { readTokens, readTokensInfo } from "../artifacts/tokens.ts";
import { STEP_SECONDS, TRAINING_SECONDS } from "../artifacts/training.ts";
import { loadClassifier, loadWholeClassifier } from "./load_classifier.ts";
import { progressReporter } from "./report_progress.ts";
import { classifierOptions, type ClassifierSettings } from "./settings.ts";

/** Trains a model without adapters on a stage's tokens and writes it as the stage's artifact. */
export async function trainClassifier(
  stage: Stage<ClassifierSettings>,
  method: ClassifierTraining["method"],
): Promise<void> {
  const { params } = stage;
  const stopwatch = new Stopwatch();
  stopwatch.start();
  const model = stage.inputs.model![0]!.path;
  const tokensFolder = stage.inputs.tokens![0]!.path;
  const info = await readTokensInfo(tokensFolder);
  const { labels, ...tokens } = readTokens(tokensFolder, info, "train");
  if (labels === undefined) {
    throw new Error(`The training split of "${info.task}" has no labels`);
  }
  const engine = stage.facilities.engine as unknown as EngineSettings;
  const precision = await startEngine(engine, {
    cpus: stage.cpus,
    precision: params.precision,
  });
  const start = startOf(model, info.labels?.length ?? 1, method, params.seed);
  const { classifier } = start;
  const checkpoint = join(stage.checkpoint, "training.safetensors");
  const resume = loadCheckpoint(checkpoint, classifier.layout.size);
  if (resume !== undefined) {
    stage.log(`Resumes after step ${resume.progress.step}`);
  }
  const peak = measureProductPeak(classifier.config);
  const result = await train(
    classifier,
    start.values,
    { ...tokens, labels },
    classifierOptions(params, info.maxLength),
    {
      resume,
      stopwatch,
      signal: stage.signal,
      save: (state) => saveCheckpoint(checkpoint, state),
      report: progressReporter(stage, peak),
    },
  );
  stage.metric(STEP_SECONDS, result.msPerStep / 1000);
  stage.metric(TRAINING_SECONDS, result.seconds);
  const { architecture } = classifier.config;
  await writeClassifier(stage.output, model, {
    architecture,
    tensors: {
      ...start.frozen,
      ...toClassifierTensors(result.values, classifier.layout, architecture),
    },
  }, {
    method,
    task: info.task,
    labels: info.labels,
    seed: params.seed,
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
  });
}

/** A classifier before its training. */
interface Start {
  readonly classifier: Classifier;
  /** Flat parameters */
  readonly values: Float32Array;
  /** Tensors that training leaves as they are. */
  readonly frozen: ReturnType<typeof toClassifierTensors>;
}

/** The head starts as that of an adapter does, for the same seed with the same values in both methods. */
function startOf(
  folder: string,
  labels: number,
  method: ClassifierTraining["method"],
  seed: number,
): Start {
  const whole = loadWholeClassifier(folder, labels);
  const { config, layout: all, pooler, values } = whole;
  const head = parameterLayout(config, 0, labels);
  const headValues = initialParameters(
    head,
    pooler,
    seededRandom(seed, "init"),
  );
  if (method === "full") {
    values.set(headValues, all.size - head.size);
    return { classifier: whole, values, frozen: {} };
  }
  return {
    classifier: loadClassifier(folder, 0, labels),
    values: headValues,
    frozen: toClassifierTensors(values, all, config.architecture),
  };
}
