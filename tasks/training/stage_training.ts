import { join } from "node:path";
import type { Examples } from "../../lib/engine/batches.ts";
import {
  type Checkpoint,
  loadCheckpoint,
  saveCheckpoint,
} from "../../lib/engine/training/checkpoint.ts";
import type { Classifier } from "../../lib/engine/classifier.ts";
import type { RankEvaluationOptions } from "../../lib/engine/evaluation/rank_evaluation.ts";
import { measureProductPeak } from "../../lib/engine/training/product_peak.ts";
import { Stopwatch } from "../../lib/engine/training/stopwatch.ts";
import type { Precision } from "../../lib/engine/tensorflow/precision.ts";
import { train } from "../../lib/engine/training/train.ts";
import type { TrainingOptions } from "../../lib/engine/training/options.ts";
import type { TrainingResult } from "../../lib/engine/training/result.ts";
import type { Stage } from "../../lib/pipeline/task.ts";
import type { ClassifierTraining } from "../artifacts/classifier.ts";
import { readFittingTokens } from "../artifacts/fitting_tokens.ts";
import { readTokens, type TokensInfo } from "../artifacts/tokens.ts";
import {
  SELECTION_SECONDS,
  STEP_SECONDS,
  type Training,
  TRAINING_SECONDS,
} from "../artifacts/training.ts";
import { EpochSelection } from "./epoch_selection.ts";
import { progressReporter } from "./report_progress.ts";
import { ScoredSplit } from "./scored_split.ts";
import type { ClassifierSettings } from "./settings.ts";
import { engineOf, startStageEngine } from "./start_stage_engine.ts";

/** What a training made. */
export interface Trained extends Pick<TrainingResult, "values" | "best"> {
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
