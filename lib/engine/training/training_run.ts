import * as tf from "@tensorflow/tfjs-core";
import {
  epochBatches,
  exampleCount,
  type Examples,
  padBatch,
} from "../batches.ts";
import { breathe } from "./breathe.ts";
import type { TrainingProgress } from "./checkpoint.ts";
import type { Classifier } from "../classifier.ts";
import { DivergedError } from "./divergence.ts";
import { bestEpoch } from "./epoch_scores.ts";
import { trainingFlops } from "../flops.ts";
import { matryoshkaGroups } from "../ranks/matryoshka.ts";
import { median } from "../median.ts";
import { restoreRandom, seededRandom } from "../random.ts";
import { RankDraws } from "../ranks/rank_draws.ts";
import { ReportWindow } from "./report_window.ts";
import { learningRateAt, type Schedule } from "./schedule.ts";
import { Stopwatch } from "./stopwatch.ts";
import type { TrainingHooks } from "./hooks.ts";
import { trainingLengths } from "./lengths.ts";
import type { TrainingOptions } from "./options.ts";
import type { TrainingResult } from "./result.ts";
import { readValues, stateTensors, stateValues } from "./state.ts";
import { trainingStep } from "./step.ts";

/** A training on its way, which can be saved after every step. */
export class TrainingRun implements Disposable {
  readonly #classifier: Classifier;
  readonly #examples: Examples;
  readonly #options: TrainingOptions;
  readonly #hooks: TrainingHooks;
  readonly #stepsPerEpoch: number;
  readonly #schedule: Schedule;
  readonly #reportEvery: number;
  readonly #groups: number;
  readonly #ranks: RankDraws;
  readonly #progress: TrainingProgress;
  readonly #takeStep: ReturnType<typeof trainingStep>;
  readonly #lengthOf: (indices: readonly number[]) => number;
  readonly #window = new ReportWindow();
  readonly #stepTimes: number[];
  readonly #training: Stopwatch;
  readonly #evaluations = new Stopwatch();
  #state: ReturnType<typeof stateTensors>;
  #best: Float32Array | undefined;
  #lastSave = performance.now();

  /** @param initial Flat parameters at the start, `[size]` */
  constructor(
    classifier: Classifier,
    initial: Float32Array,
    examples: Examples,
    options: TrainingOptions,
    hooks: TrainingHooks,
  ) {
    const { resume } = hooks;
    this.#classifier = classifier;
    this.#examples = examples;
    this.#options = options;
    this.#hooks = hooks;
    this.#stepsPerEpoch = Math.ceil(
      exampleCount(examples) / (options.batchSize * options.accumulation),
    );
    const steps = this.#stepsPerEpoch * options.epochs;
    const { learningRate, warmupRatio } = options;
    this.#schedule = { learningRate, steps, warmupRatio };
    this.#reportEvery = reportInterval(steps);
    this.#groups = options.matryoshka
      ? matryoshkaGroups(options.matryoshka)
      : 1;
    this.#ranks = new RankDraws(options, classifier.layout, resume?.progress);
    this.#progress = structuredClone(
      resume?.progress ?? startOfTraining(options.seed, this.#ranks),
    );
    this.#takeStep = trainingStep(classifier, options);
    this.#lengthOf = trainingLengths(
      classifier,
      examples,
      options,
      this.#groups,
    );
    this.#stepTimes = [...resume?.stepMilliseconds ?? []];
    this.#training = hooks.stopwatch ?? new Stopwatch();
    this.#training.add(this.#progress.seconds);
    this.#training.start();
    this.#evaluations.add(this.#progress.evaluationSeconds);
    this.#best = resume?.best;
    this.#state = stateTensors(resume ?? { values: initial });
  }

  /** Whether all steps are taken. */
  get done(): boolean {
    return this.#progress.step === this.#schedule.steps;
  }

  /** Whether the last step was the last of its epoch. */
  get #betweenEpochs(): boolean {
    return this.#progress.step % this.#stepsPerEpoch === 0;
  }

  /**
   * Takes the steps that are left of the epoch at hand.
   *
   * @throws {DivergedError} If the loss becomes infinite or not a number
   * @throws The signal's reason, if it is aborted; a checkpoint is written before
   */
  async finishEpoch(): Promise<void> {
    const { batchSize, accumulation, padTo } = this.#options;
    const shuffles = restoreRandom(this.#progress.shuffles);
    const batches = epochBatches(
      this.#examples,
      batchSize,
      shuffles,
      padTo !== undefined,
    );
    const done = this.#progress.step % this.#stepsPerEpoch;
    for (
      let next = done * accumulation;
      next < batches.length;
      next += accumulation
    ) {
      this.#hooks.signal?.throwIfAborted();
      const { rank, learningRate } = this.#step(
        batches.slice(next, next + accumulation),
      );
      if (this.#progress.step % this.#reportEvery === 0 || this.done) {
        await this.#report(rank, learningRate);
      }
      await breathe();
      if (!this.#betweenEpochs) await this.#saveIfDue();
    }
    this.#progress.shuffles = shuffles.state;
    if (!this.done || this.#hooks.evaluate) await this.#saveIfDue();
  }

  /** Scores the epoch just finished, if that is asked for and not yet done. */
  async evaluateEpoch(): Promise<void> {
    const { evaluate, signal } = this.#hooks;
    const { step, epochs } = this.#progress;
    const unscored = step - epochs.length * this.#stepsPerEpoch;
    if (!evaluate || unscored < this.#stepsPerEpoch) return;
    const values = await readValues(this.#state.values);
    this.#training.stop();
    this.#evaluations.start();
    try {
      const epoch = step / this.#stepsPerEpoch;
      epochs.push({ epoch, step, ...await evaluate(values) });
      if (bestEpoch(epochs) === epochs.at(-1)) this.#best = values;
    } catch (error) {
      if (signal?.aborted) await this.#save();
      throw error;
    }
    this.#evaluations.stop();
    this.#training.start();
  }

  /** What the training gives, once all steps are taken. */
  async result(): Promise<TrainingResult> {
    const values = await readValues(this.#state.values);
    this.#training.stop();
    const { step, tokens, paddedTokens, flops, losses, epochs } =
      this.#progress;
    return {
      values,
      steps: step,
      tokens,
      paddedTokens,
      flops,
      losses,
      msPerStep: median(this.#stepTimes),
      seconds: this.#training.seconds,
      epochs,
      best: this.#best,
      evaluationSeconds: this.#evaluations.seconds,
    };
  }

  /** Takes a step on the batches whose gradients make it. */
  #step(batches: readonly (readonly number[])[]) {
    const started = performance.now();
    const { config } = this.#classifier;
    const progress = this.#progress;
    const padded = batches.map((indices) =>
      padBatch(this.#examples, indices, config, this.#lengthOf(indices))
    );
    const rank = this.#ranks.next();
    const learningRate = learningRateAt(progress.step, this.#schedule);
    const { state, loss } = this.#takeStep(this.#state, padded, {
      step: progress.step,
      rank,
      learningRate,
      seed: this.#options.seed,
      rowSteps: this.#ranks.rowSteps,
    });
    this.#disposeState();
    this.#state = state;

    const tokens = padded.reduce((sum, batch) => sum + batch.tokens, 0);
    const milliseconds = performance.now() - started;
    let flops = 0;
    for (const { shape } of padded) {
      progress.paddedTokens += shape[0] * shape[1];
      flops += trainingFlops(this.#classifier, shape, this.#groups);
    }
    progress.tokens += tokens;
    progress.flops += flops;
    this.#stepTimes.push(milliseconds);
    this.#window.add({
      step: progress.step++,
      loss,
      tokens,
      flops,
      milliseconds,
    });
    return { rank, learningRate };
  }

  async #report(
    rank: number | readonly number[],
    learningRate: number,
  ): Promise<void> {
    await this.#settleLosses();
    const { step, losses, pendingLoss } = this.#progress;
    const loss = pendingLoss / ((step - 1) % this.#reportEvery + 1);
    losses.push({ step, loss });
    this.#progress.pendingLoss = 0;
    this.#hooks.report({
      step,
      steps: this.#schedule.steps,
      loss,
      learningRate,
      rank,
      ...this.#window.rates(),
    });
  }

  async #settleLosses(): Promise<void> {
    for (const { step, loss } of await this.#window.losses()) {
      if (!Number.isFinite(loss)) {
        throw new DivergedError(step, loss, this.#options.learningRate);
      }
      this.#progress.pendingLoss += loss;
    }
  }

  async #saveIfDue(): Promise<void> {
    const { checkpointSeconds = 60, signal } = this.#hooks;
    const due = performance.now() - this.#lastSave > checkpointSeconds * 1000;
    if (due || signal?.aborted) await this.#save();
  }

  async #save(): Promise<void> {
    await this.#settleLosses();
    Object.assign(this.#progress, this.#ranks.state);
    const values = await stateValues(this.#state);
    this.#progress.seconds = this.#training.seconds;
    this.#progress.evaluationSeconds = this.#evaluations.seconds;
    this.#hooks.save?.({
      ...values,
      best: this.#best,
      progress: this.#progress,
      stepMilliseconds: Float32Array.from(this.#stepTimes),
    });
    this.#lastSave = performance.now();
  }

  #disposeState(): void {
    const { values, moment1, moment2 } = this.#state;
    tf.dispose([values, moment1, moment2]);
  }

  [Symbol.dispose](): void {
    this.#window.dispose();
    this.#disposeState();
    this.#takeStep.dispose();
  }
}

/** Steps between two reports: at least 10, and at most 200 reports in all. */
function reportInterval(steps: number): number {
  return Math.max(10, Math.ceil(steps / 200));
}

function startOfTraining(seed: number, ranks: RankDraws): TrainingProgress {
  return {
    step: 0,
    tokens: 0,
    paddedTokens: 0,
    flops: 0,
    losses: [],
    pendingLoss: 0,
    ...ranks.state,
    shuffles: seededRandom(seed, "shuffle").state,
    seconds: 0,
    epochs: [],
    evaluationSeconds: 0,
  };
}
