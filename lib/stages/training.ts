import { join } from "@std/path/posix/join";
import * as z from "zod";
import { outputsOf } from "../artifacts/classes.ts";
import type { ClassifierTraining } from "../artifacts/classifier.ts";
import { findModelOrigin } from "../artifacts/model.ts";
import {
  readFittingTokens,
  readLabelledTokens,
  type TokensInfo,
} from "../artifacts/tokens.ts";
import {
  RUN_FIELDS,
  SELECTION_SECONDS,
  STEP_SECONDS,
  type Training,
  TRAINING_SECONDS,
} from "../artifacts/training.ts";
import type { EncodedExamples } from "../data/example.ts";
import { quote } from "../data/text_file.ts";
import { atRank, type Classifier } from "../engine/models/classifier.ts";
import type { Trainable } from "../engine/models/parameters.ts";
import type { RankObjective } from "../engine/schedules/schedule.ts";
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
  evaluator,
  type RankEvaluationOptions,
} from "../engine/training/evaluation.ts";
import type { TrainingReport } from "../engine/training/progress.ts";
import {
  train,
  type TrainingHooks,
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
    private readonly started: number,
  ) {}

  /**
   * Reads the training data of a stage. The reported seconds start here.
   *
   * @throws {Error} If a split is missing or has no labels, or the tokens were made for another model.
   */
  static async open(stage: TrainingStage): Promise<StageTraining> {
    const started = performance.now();
    const folder = stage.inputs.tokens.path;
    const model = stage.inputs.model.path;
    const info = await readFittingTokens(folder, model);
    const { name = null } = await findModelOrigin(model) ?? {};
    const examples = readLabelledTokens(folder, info, "train");
    const { selectOn } = stage.params;
    const held = selectOn === "none"
      ? undefined
      : new ScoredSplit(folder, info, selectOn);
    return new StageTraining(stage, info, name, examples, held, started);
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
    objective: RankObjective,
    served: Pick<RankEvaluationOptions, "alpha" | "scaling" | "ranks">,
  ): Promise<FinishedTraining> {
    const { stage, examples, held } = this;
    const { params, signal } = stage;
    const scored = {
      ...served,
      passes: params.epochs,
      batchSize: evaluationBatchSize(served.ranks.length),
    };
    using evaluate = held && evaluator(classifier, scored);
    const checkpoint = join(stage.checkpoint, "training.safetensors");
    const resume = this.#resume(
      checkpoint,
      [...objective.sources ?? [], classifier.layout].map(({ rank }) =>
        atRank(classifier, rank).layout.size
      ),
    );
    const result = await train(classifier, initial, examples, {
      ...params,
      objective,
      padTo: params.padding === "maxLength" ? this.info.maxLength : undefined,
      optimizer: {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weightDecay: params.weightDecay,
        clipNorm: params.clipNorm,
      },
      classWeights: this.#classWeights(),
    }, {
      evaluate: held && evaluate && (async (values) => {
        const { ranks } = scored;
        const { examples } = held;
        const logits = await evaluate(values, ranks, examples, { signal });
        return scoreEpoch(held, ranks, logits, stage.log);
      }),
      resume,
      started: this.started,
      signal,
      save(state) {
        saveCheckpoint(checkpoint, state);
        stage.saved(`step ${state.progress.step}`);
      },
      ...progressReporter(stage),
    });
    stage.metric(STEP_SECONDS, result.msPerStep / 1000);
    stage.metric(TRAINING_SECONDS, result.seconds);
    const { epochs, values, best } = result;
    if (held !== undefined) {
      stage.metric(SELECTION_SECONDS, result.evaluationSeconds);
    }
    const selection = held === undefined ? null : {
      split: held.name,
      examples: held.examples.labels.length,
      metric: held.metrics[0]!,
      flops: epochs.length * evaluationFlops(classifier, held.examples, scored),
      best: bestEpoch(epochs)!.epoch,
      epochs: [...epochs],
    };
    return { values, best, record: this.#record(result, selection) };
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
    const { task, labels, maxLength } = this.info;
    return {
      task,
      labels,
      seed: params.seed,
      ...z.object(RUN_FIELDS).parse({
        ...result,
        ...params,
        model: this.model,
        batchSize: params.batchSize * params.accumulation,
        maxLength,
        classWeights: params.classWeights === "none"
          ? undefined
          : params.classWeights,
        precision: this.#precision,
        engine: engineOf(this.stage).engine,
        examples: this.examples.labels.length * params.epochs,
        selection,
      }),
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

/** Scores an epoch by its logits: the mean of the data's main metric over the ranks, where an undefined one counts as 0. */
function scoreEpoch(
  split: ScoredSplit,
  evaluated: readonly number[],
  logits: Float32Array,
  log: (line: string) => void,
): Pick<EpochScores, "score" | "ranks"> {
  const ranks = split.score(evaluated, logits);
  const [metric] = split.metrics;
  const main = ranks.map(({ metrics }) => metrics[metric!]!);
  const sum = main.reduce((sum, it) => sum + (Number.isNaN(it) ? 0 : it), 0);
  const score = sum / ranks.length;
  const atRanks = ranks.length === 1
    ? ""
    : ` at ranks ${evaluated.join(" ")}, mean ${score.toFixed(4)}`;
  log(
    `${split.name}: ${metric} ${
      main.map((it) => it.toFixed(4)).join(" ")
    }${atRanks}`,
  );
  return { score, ranks };
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
