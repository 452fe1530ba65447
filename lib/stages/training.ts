import { join } from "node:path";
import type { ClassifierTraining } from "../artifacts/classifier.ts";
import {
  readFittingTokens,
  readTokens,
  type TokensInfo,
} from "../artifacts/tokens.ts";
import {
  SELECTION_SECONDS,
  STEP_SECONDS,
  type Training,
  TRAINING_SECONDS,
} from "../artifacts/training.ts";
import type { Examples } from "../engine/batches.ts";
import type { Classifier } from "../engine/classifier.ts";
import {
  evaluationBatchSize,
  evaluationFlops,
  type RankEvaluationOptions,
  type RankEvaluator,
  rankEvaluator,
} from "../engine/evaluation/rank_evaluation.ts";
import type { Precision } from "../engine/tensorflow/precision.ts";
import {
  type Checkpoint,
  loadCheckpoint,
  saveCheckpoint,
} from "../engine/training/checkpoint.ts";
import {
  bestEpoch,
  type EpochScores,
} from "../engine/training/epoch_scores.ts";
import type { TrainingReport } from "../engine/training/hooks.ts";
import type { TrainingOptions } from "../engine/training/options.ts";
import { measureProductPeak } from "../engine/training/product_peak.ts";
import type { TrainingResult } from "../engine/training/result.ts";
import { Stopwatch } from "../engine/training/stopwatch.ts";
import { train } from "../engine/training/train.ts";
import type { Stage } from "../pipeline/task.ts";
import { engineOf, startStageEngine } from "./load_classifier.ts";
import { ScoredSplit } from "./scored_split.ts";
import type { ClassifierSettings } from "./settings.ts";

/** What a training made. */
interface Trained extends Pick<TrainingResult, "values" | "best"> {
  /** What `training.json` says of it, whatever the method. */
  readonly record: Omit<ClassifierTraining, "method">;
}

/** A stage's training on its tokens, with or without adapters: what all methods do alike. */
export class StageTraining {
  /** Folder of the tokens. */
  readonly tokens: string;
  readonly info: TokensInfo;
  /** Of the split `train`. */
  readonly examples: Examples;
  /** On which every epoch is scored; undefined if only the last one is kept. */
  readonly #held: ScoredSplit | undefined;
  readonly #stage: Stage<ClassifierSettings>;
  readonly #stopwatch: Stopwatch;
  #precision: Precision | undefined;

  private constructor(
    stage: Stage<ClassifierSettings>,
    tokens: string,
    info: TokensInfo,
    examples: Examples,
    held: ScoredSplit | undefined,
    stopwatch: Stopwatch,
  ) {
    this.#stage = stage;
    this.tokens = tokens;
    this.info = info;
    this.examples = examples;
    this.#held = held;
    this.#stopwatch = stopwatch;
  }

  /**
   * Reads what the stage trains on; its seconds count from here.
   *
   * @throws {Error} If a split is missing or has no labels, or the tokens are another model's.
   */
  static async open(stage: Stage<ClassifierSettings>): Promise<StageTraining> {
    const stopwatch = new Stopwatch();
    stopwatch.start();
    const folder = stage.inputs.tokens![0]!.path;
    const info = await readFittingTokens(folder, stage.inputs.model![0]!.path);
    const { labels, ...tokens } = readTokens(folder, info, "train");
    if (labels === undefined) {
      throw new Error(`The training split of "${info.task}" has no labels`);
    }
    const examples = { ...tokens, labels };
    const { selectOn } = stage.params;
    const held = selectOn === "none"
      ? undefined
      : new ScoredSplit(folder, info, selectOn);
    return new StageTraining(stage, folder, info, examples, held, stopwatch);
  }

  /** Classes, or one score. */
  get outputs(): number {
    return this.info.labels?.length ?? 1;
  }

  /** Starts the engine, which loading a model needs. */
  async startEngine(): Promise<void> {
    this.#precision = await startStageEngine(this.#stage);
  }

  /** The checkpoint to go on from, if there is one that is whole. */
  #resume(path: string, size: number): Checkpoint | undefined {
    const { log } = this.#stage;
    try {
      const resume = loadCheckpoint(path, size);
      if (resume !== undefined) {
        log(`Resumes after step ${resume.progress.step}`);
      }
      return resume;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      log(`Starts anew, since the checkpoint is damaged: ${error.message}`);
      return undefined;
    }
  }

  /**
   * Trains, from the stage's checkpoint if there is one, and reports progress
   * and seconds.
   *
   * @param served Ranks at which every epoch is scored, if the stage asks for that
   */
  async run(
    classifier: Classifier,
    initial: Float32Array,
    options: TrainingOptions,
    served: Pick<RankEvaluationOptions, "scaling" | "ranks">,
  ): Promise<Trained> {
    const stage = this.#stage;
    const { alpha, epochs: passes } = options;
    using selection = this.#held && new EpochSelection(
      this.#held,
      classifier,
      { ...served, alpha, passes },
      stage,
    );
    const checkpoint = join(stage.checkpoint, "training.safetensors");
    const resume = this.#resume(checkpoint, classifier.layout.size);
    const peak = await measureProductPeak(classifier.config);
    const result = await train(classifier, initial, this.examples, options, {
      evaluate: selection && ((values) => selection.evaluate(values)),
      resume,
      stopwatch: this.#stopwatch,
      signal: stage.signal,
      save: (state) => saveCheckpoint(checkpoint, state),
      report: progressReporter(stage, peak),
    });
    stage.metric(STEP_SECONDS, result.msPerStep / 1000);
    stage.metric(TRAINING_SECONDS, result.seconds);
    if (selection !== undefined) {
      stage.metric(SELECTION_SECONDS, result.evaluationSeconds);
    }
    return {
      values: result.values,
      best: result.best,
      record: this.#record(result, selection?.record(result.epochs) ?? null),
    };
  }

  #record(
    result: TrainingResult,
    selection: Training["selection"],
  ): Trained["record"] {
    const { params } = this.#stage;
    return {
      task: this.info.task,
      labels: this.info.labels,
      seed: params.seed,
      epochs: params.epochs,
      steps: result.steps,
      batchSize: params.batchSize * params.accumulation,
      padding: params.padding,
      learningRate: params.learningRate,
      weightDecay: params.weightDecay,
      warmupRatio: params.warmupRatio,
      precision: this.#precision!,
      engine: engineOf(this.#stage).engine,
      examples: this.examples.labels.length * params.epochs,
      tokens: result.tokens,
      paddedTokens: result.paddedTokens,
      flops: result.flops,
      losses: [...result.losses],
      selection,
    };
  }
}

/** Scores each epoch of a training at all of its ranks, never at a random one. */
class EpochSelection implements Disposable {
  readonly #split: ScoredSplit;
  readonly #classifier: Classifier;
  readonly #options: RankEvaluationOptions;
  readonly #evaluator: RankEvaluator;
  readonly #stage: Pick<Stage<unknown>, "log" | "signal">;

  constructor(
    split: ScoredSplit,
    classifier: Classifier,
    options: Omit<RankEvaluationOptions, "batchSize">,
    stage: Pick<Stage<unknown>, "log" | "signal">,
  ) {
    this.#split = split;
    this.#classifier = classifier;
    this.#options = {
      ...options,
      batchSize: evaluationBatchSize(options.ranks.length),
    };
    this.#evaluator = rankEvaluator(classifier, this.#options);
    this.#stage = stage;
  }

  /** Scores parameters: the mean over the ranks of the task's main metric. */
  async evaluate(
    values: Float32Array,
  ): Promise<Pick<EpochScores, "score" | "ranks">> {
    const { examples, metrics } = this.#split;
    const { signal, log } = this.#stage;
    const logits = await this.#evaluator(values, examples, { signal });
    const ranks = this.#split.score(this.#options.ranks, logits);
    const [metric] = metrics;
    const main = ranks.map(({ metrics }) => metrics[metric!]!);
    const sum = main.reduce((sum, it) => sum + (Number.isNaN(it) ? 0 : it), 0);
    const score = sum / ranks.length;
    log(
      `${this.#split.name}: ${metric} ${
        main.map((it) => it.toFixed(4)).join(" ")
      } at rank ${this.#options.ranks.join(" ")}, mean ${score.toFixed(4)}`,
    );
    return { score, ranks };
  }

  /** What `training.json` says of it. */
  record(epochs: readonly EpochScores[]): NonNullable<Training["selection"]> {
    const { name, examples, metrics } = this.#split;
    return {
      split: name,
      examples: examples.labels.length,
      metric: metrics[0]!,
      flops: epochs.length *
        evaluationFlops(this.#classifier, examples, this.#options),
      best: bestEpoch(epochs)!.epoch,
      epochs: [...epochs],
    };
  }

  [Symbol.dispose](): void {
    this.#evaluator.dispose();
  }
}

/**
 * Tells of a training as it goes on: in the log, as progress, and its loss as a metric.
 *
 * @param peak Floating-point operations a second of the fastest product
 */
export function progressReporter(
  stage: Pick<Stage<unknown>, "log" | "metric" | "progress">,
  peak: number,
): (report: TrainingReport) => void {
  stage.log(`Products run at ${(peak / 1e9).toFixed(0)} GFLOPS at most`);
  let fastest = peak;
  return (report) => {
    const { step, steps, loss } = report;
    // Where other work slowed the measurement of the peak, training itself shows a higher one.
    fastest = Math.max(fastest, report.flopsPerSecond);
    const line = lineOf(report, fastest);
    stage.progress(step, steps, "steps", line);
    stage.log(`step ${step}/${steps}  ${line}`);
    stage.metric("loss", loss, step);
  };
}

/** `loss 0.5310  lr 8.21e-4  rank 3  126 ms/step  5120 tokens/s  71 % of peak` */
function lineOf(report: TrainingReport, peak: number): string {
  const { loss, learningRate, rank } = report;
  const { msPerStep, tokensPerSecond, flopsPerSecond } = report;
  return [
    `loss ${loss.toFixed(4)}`,
    `lr ${learningRate.toExponential(2)}`,
    `rank ${[rank].flat().join()}`,
    `${msPerStep.toFixed(0)} ms/step`,
    `${tokensPerSecond.toFixed(0)} tokens/s`,
    `${(flopsPerSecond / peak * 100).toFixed(0)} % of peak`,
  ].join("  ");
}
