import { join } from "@std/path/posix/join";
import { outputsOf } from "../artifacts/classes.ts";
import type { ClassifierTraining } from "../artifacts/classifier.ts";
import { findModelOrigin } from "../artifacts/model.ts";
import {
  readFittingTokens,
  readLabelledTokens,
  type TokensInfo,
} from "../artifacts/tokens.ts";
import {
  SELECTION_SECONDS,
  STEP_SECONDS,
  type Training,
  TRAINING_SECONDS,
} from "../artifacts/training.ts";
import type { EncodedExamples } from "../data/example.ts";
import { quote } from "../data/text_file.ts";
import { atRank, type Classifier } from "../engine/models/classifier.ts";
import type { Trainable } from "../engine/models/parameters.ts";
import type { Precision } from "../engine/tensorflow/precision.ts";
import {
  bestEpoch,
  type Checkpoint,
  type EpochScores,
  loadCheckpoint,
  saveCheckpoint,
} from "../engine/training/checkpoint.ts";
import {
  evaluationBatchSize,
  evaluationFlops,
  type Evaluator,
  evaluator,
  type RankEvaluationOptions,
} from "../engine/training/evaluation.ts";
import { Stopwatch, type TrainingReport } from "../engine/training/progress.ts";
import {
  train,
  type TrainingHooks,
  type TrainingOptions,
  type TrainingResult,
} from "../engine/training/train.ts";
import type { InputsOf, Stage } from "../pipeline/task.ts";
import { engineOf, loadFolder, startStageEngine } from "./load_classifier.ts";
import { ScoredSplit } from "./scored_split.ts";
import type { CLASSIFIER_TRAINING, ClassifierSettings } from "./settings.ts";

/** A stage that trains. */
export type TrainingStage = Stage<
  ClassifierSettings,
  InputsOf<typeof CLASSIFIER_TRAINING["inputs"]>
>;

/** The result of a training. */
interface FinishedTraining extends Pick<TrainingResult, "values" | "best"> {
  /** The fields of `training.json` that every method has. */
  readonly record: Omit<ClassifierTraining, "method">;
}

/** The training of a stage, with or without adapters: data, checkpoints, epoch selection and reports. */
export class StageTraining {
  #precision: Precision | undefined;

  /**
   * @param examples Examples of the split `train`
   * @param model Name of the model at its source
   * @param held Split on which every epoch is scored; undefined if only the last one is saved
   */
  private constructor(
    private readonly stage: TrainingStage,
    readonly info: TokensInfo,
    private readonly model: string | null,
    private readonly examples: Required<EncodedExamples>,
    private readonly held: ScoredSplit | undefined,
    private readonly stopwatch: Stopwatch,
  ) {}

  /**
   * Reads the training data of a stage. The reported seconds start here.
   *
   * @throws {Error} If a split is missing or has no labels, or the tokens were made for another model.
   */
  static async open(stage: TrainingStage): Promise<StageTraining> {
    const stopwatch = new Stopwatch();
    stopwatch.start();
    const folder = stage.inputs.tokens.path;
    const model = stage.inputs.model.path;
    const info = await readFittingTokens(folder, model);
    const { name = null } = await findModelOrigin(model) ?? {};
    const examples = readLabelledTokens(folder, info, "train");
    const { selectOn } = stage.params;
    const held = selectOn === "none"
      ? undefined
      : new ScoredSplit(folder, info, selectOn);
    return new StageTraining(stage, info, name, examples, held, stopwatch);
  }

  /** Starts the engine and loads the model of the stage, with what is trained. */
  async load(trained: Trainable): Promise<ReturnType<typeof loadFolder>> {
    this.#precision = await startStageEngine(this.stage);
    const folder = this.stage.inputs.model.path;
    return loadFolder(folder, outputsOf(this.info.labels), trained);
  }

  /** The checkpoint to resume from, if there is an intact one. */
  #resume(path: string, sizes: readonly number[]): Checkpoint | undefined {
    const { log, saved } = this.stage;
    try {
      const resume = loadCheckpoint(path, ...sizes);
      if (resume !== undefined) {
        log(`Resuming after step ${resume.progress.step}`);
        saved(`step ${resume.progress.step}`);
      }
      return resume;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      log(
        `Starting from the first step, since the checkpoint is damaged: ${error.message}`,
      );
      return undefined;
    }
  }

  /**
   * Trains, from the stage's checkpoint if there is one, and reports progress
   * and seconds.
   *
   * @param initial As of {@linkcode train}
   * @param served Ranks at which epochs are scored if the stage selects the best one
   */
  async run(
    classifier: Classifier,
    initial: Float32Array,
    options: TrainingOptions,
    served: Pick<RankEvaluationOptions, "alpha" | "scaling" | "ranks">,
  ): Promise<FinishedTraining> {
    const stage = this.stage;
    using selection = this.held && new EpochSelection(
      this.held,
      classifier,
      { ...served, passes: options.epochs },
      stage,
    );
    const checkpoint = join(stage.checkpoint, "training.safetensors");
    const { sources = [] } = options.objective;
    const resume = this.#resume(
      checkpoint,
      [...sources, classifier.layout].map(({ rank }) =>
        atRank(classifier, rank).layout.size
      ),
    );
    const classWeights = this.#classWeights();
    const weighted = { ...options, classWeights };
    const result = await train(classifier, initial, this.examples, weighted, {
      evaluate: selection && ((values) => selection.evaluate(values)),
      resume,
      stopwatch: this.stopwatch,
      signal: stage.signal,
      save(state) {
        saveCheckpoint(checkpoint, state);
        stage.saved(`step ${state.progress.step}`);
      },
      ...progressReporter(stage),
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

  /** The weights of the classes that the stage asks for. */
  #classWeights(): readonly number[] | undefined {
    const { params, log } = this.stage;
    const { labels } = this.info;
    if (params.classWeights === "none") return undefined;
    if (labels === null) {
      throw new RangeError(
        '"classWeights: balanced" requires classes, but the labels are scores: remove it',
      );
    }
    const weights = balancedWeights(this.examples.labels, labels.length);
    const shown = labels.map((name, i) =>
      `${quote(name)} ${weights[i]!.toFixed(3)}`
    );
    log(`Class weights: ${shown.join(", ")}`);
    return weights;
  }

  #record(
    result: TrainingResult,
    selection: Training["selection"],
  ): FinishedTraining["record"] {
    const { params } = this.stage;
    return {
      task: this.info.task,
      labels: this.info.labels,
      seed: params.seed,
      model: this.model,
      epochs: params.epochs,
      steps: result.steps,
      batchSize: params.batchSize * params.accumulation,
      padding: params.padding,
      maxLength: this.info.maxLength,
      learningRate: params.learningRate,
      weightDecay: params.weightDecay,
      ...params.classWeights === "balanced" &&
        { classWeights: params.classWeights },
      warmupRatio: params.warmupRatio,
      clipNorm: params.clipNorm,
      dropout: params.dropout,
      precision: this.#precision!,
      engine: engineOf(this.stage).engine,
      examples: this.examples.labels.length * params.epochs,
      tokens: result.tokens,
      paddedTokens: result.paddedTokens,
      flops: result.flops,
      losses: [...result.losses],
      selection,
    };
  }
}

/**
 * Weights of classes that are inversely proportional to their frequency, as
 * scikit-learn's `compute_class_weight("balanced")`: examples / (classes *
 * examples of the class); 0 for a class without examples, which is not counted.
 *
 * @param labels Class numbers, `[examples]`
 */
export function balancedWeights(
  labels: ArrayLike<number>,
  classes: number,
): number[] {
  const counts = new Array<number>(classes).fill(0);
  for (let i = 0; i < labels.length; i++) counts[labels[i]!]!++;
  const present = counts.filter((it) => it > 0).length;
  return counts.map((it) => it === 0 ? 0 : labels.length / (present * it));
}

/** Scores each epoch of a training at all of its ranks. */
class EpochSelection implements Disposable {
  readonly #options: RankEvaluationOptions;
  readonly #evaluator: Evaluator;

  constructor(
    private readonly split: ScoredSplit,
    private readonly classifier: Classifier,
    options: Omit<RankEvaluationOptions, "batchSize">,
    private readonly stage: Pick<Stage<unknown>, "log" | "signal">,
  ) {
    const batchSize = evaluationBatchSize(options.ranks.length);
    this.#options = { ...options, batchSize };
    this.#evaluator = evaluator(classifier, this.#options);
  }

  /** Scores flat parameters: the mean of the task's main metric over the ranks. */
  async evaluate(
    values: Float32Array,
  ): Promise<Pick<EpochScores, "score" | "ranks">> {
    const { examples, metrics } = this.split;
    const { signal, log } = this.stage;
    const { ranks: evaluated } = this.#options;
    const logits = await this.#evaluator(values, evaluated, examples, {
      signal,
    });
    const ranks = this.split.score(evaluated, logits);
    const [metric] = metrics;
    const main = ranks.map(({ metrics }) => metrics[metric!]!);
    const sum = main.reduce((sum, it) => sum + (Number.isNaN(it) ? 0 : it), 0);
    const score = sum / ranks.length;
    const atRanks = ranks.length === 1
      ? ""
      : ` at ranks ${evaluated.join(" ")}, mean ${score.toFixed(4)}`;
    log(
      `${this.split.name}: ${metric} ${
        main.map((it) => it.toFixed(4)).join(" ")
      }${atRanks}`,
    );
    return { score, ranks };
  }

  /** The entry of `training.json`. */
  record(epochs: readonly EpochScores[]): NonNullable<Training["selection"]> {
    const { name, examples, metrics } = this.split;
    return {
      split: name,
      examples: examples.labels.length,
      metric: metrics[0]!,
      flops: epochs.length *
        evaluationFlops(this.classifier, examples, this.#options),
      best: bestEpoch(epochs)!.epoch,
      epochs: [...epochs],
    };
  }

  [Symbol.dispose](): void {
    this.#evaluator.dispose();
  }
}

/**
 * Reports the steps of a training: each as progress; to the log, and the loss
 * as a metric, every few steps.
 */
export function progressReporter(
  stage: Pick<Stage<unknown>, "log" | "metric" | "progress">,
): Required<Pick<TrainingHooks, "report" | "progress">> {
  let line: string | undefined;
  return {
    progress: (step, steps, note = line) =>
      stage.progress(step, steps, "steps", note),
    report(report) {
      const { step, steps, loss } = report;
      // Shown with the next step.
      line = lineOf(report);
      stage.log(`step ${step}/${steps}  ${line}`);
      stage.metric("loss", loss, step);
    },
  };
}

/** `loss 0.5310  lr 8.21e-4  rank 3  126 ms/step  5120 tokens/s  310 GFLOPS` */
function lineOf(report: TrainingReport): string {
  const { loss, learningRate, ranks } = report;
  const { msPerStep, tokensPerSecond, flopsPerSecond } = report;
  const [lowest, highest] = [Math.min(...ranks), Math.max(...ranks)];
  return [
    `loss ${loss.toFixed(4)}`,
    `lr ${learningRate.toExponential(2)}`,
    ...(highest === 0 ? [] : [
      lowest === highest ? `rank ${highest}` : `ranks ${lowest} to ${highest}`,
    ]),
    `${msPerStep.toFixed(0)} ms/step`,
    `${tokensPerSecond.toFixed(0)} tokens/s`,
    `${(flopsPerSecond / 1e9).toFixed(0)} GFLOPS`,
  ].join("  ");
}
