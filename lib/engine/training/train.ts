import * as tf from "@tensorflow/tfjs-core";
import type { LabelledExamples } from "../../data/example.ts";
import { sortFlops } from "../adapters/registry.ts";
import type { Classifier } from "../models/classifier.ts";
import type { LossName } from "../ops/loss.ts";
import { type Random, restoreRandom } from "../random.ts";
import {
  type AdamWOptions,
  type AdamWState,
  learningRateAt,
  type LearningRates,
  readValues,
  stateTensors,
  stateValues,
} from "./adamw.ts";
import { type Batch, compilingNote, epochBatches, padParts } from "./batch.ts";
import {
  bestEpoch,
  type Checkpoint,
  type EpochScores,
  initialProgress,
  type TrainingProgress,
} from "./checkpoint.ts";
import {
  phaseFlops,
  phaseLengths,
  type PhaseOptions,
  type TrainingPhase,
  trainingPhases,
  trainingRates,
  valuesIn,
} from "./phases.ts";
import {
  median,
  reportInterval,
  ReportWindow,
  type TrainingReport,
  yieldToEvents,
} from "./progress.ts";
import { trainingStep } from "./step.ts";

/** How to train. */
export interface TrainingOptions extends PhaseOptions {
  readonly loss: LossName;
  /**
   * Length to which every example is padded. By default, batches are bucketed
   * by length and each is padded to its longest example, or to one of fewer lengths.
   */
  readonly padTo?: number | undefined;
  readonly optimizer: AdamWOptions;
  readonly dropout: boolean;
  /** As of {@linkcode trainingStep}. */
  readonly classWeights?: readonly number[] | undefined;
  readonly seed: number;
}

/** Callbacks of training, and the checkpoint to resume from. */
export interface TrainingHooks {
  /** Called every few steps. */
  readonly report: (report: TrainingReport) => void;
  /**
   * Called at the start and after every step with the number of steps taken,
   * and before other work with a note: `compiling length 32`, `scoring epoch 1`.
   */
  readonly progress?: (step: number, steps: number, note?: string) => void;
  /**
   * Scores the parameters after each epoch, `[size]`; the result then has the
   * parameters of the best epoch as well. Must be deterministic.
   */
  readonly evaluate?:
    | ((values: Float32Array) => Promise<Pick<EpochScores, "score" | "ranks">>)
    | undefined;
  /** Aborted to stop training; a checkpoint is written before it ends. */
  readonly signal?: AbortSignal;
  /** Checkpoint to resume from, if training was interrupted. */
  readonly resume?: Checkpoint | undefined;
  /** Stores a checkpoint; called at most every `checkpointSeconds`. */
  readonly save?: (checkpoint: Checkpoint) => void;
  readonly checkpointSeconds?: number;
  /** Time (`performance.now()`) from which the seconds of training count, to include preparations. */
  readonly started?: number;
}

/** Result of training: its final counts and parameters. */
export interface TrainingResult
  extends
    Omit<TrainingProgress, "step" | "pendingLoss" | "shuffles" | "ranks"> {
  readonly steps: number;
  /** Flat parameters, `[size]` */
  readonly values: Float32Array<ArrayBuffer>;
  /** Flat parameters of the best epoch, `[size]`, where epochs were evaluated. */
  readonly best: Float32Array | undefined;
  /** Median milliseconds of a step, over all attempts. */
  readonly msPerStep: number;
}

/**
 * Trains the parameters that a classifier's layout lists: its adapters and head,
 * its head, or all weights.
 *
 * Deterministic: the same examples, start, options and engine give the same
 * bits, whether training was interrupted or not.
 *
 * @param initial Flat parameters at the start, `[size]`, in the layout of the first of its {@linkcode trainingPhases}
 * @throws {DivergedError} If the loss becomes infinite or NaN
 * @throws {RangeError} If the objective has no phases of so few steps
 * @throws The signal's reason, if it is aborted
 */
export async function train(
  classifier: Classifier,
  initial: Float32Array,
  examples: LabelledExamples,
  options: TrainingOptions,
  hooks: TrainingHooks,
): Promise<TrainingResult> {
  using run = new TrainingRun(classifier, initial, examples, options, hooks);
  while (true) {
    await run.evaluateEpoch();
    if (run.done) return await run.result();
    await run.finishEpoch();
  }
}

/** A training in progress, which can be saved after every step. */
class TrainingRun implements Disposable {
  readonly #stepsPerEpoch: number;
  readonly #phases: readonly TrainingPhase[];
  readonly #rates: LearningRates;
  readonly #reportEvery: number;
  /** Generator of ranks. */
  readonly #ranks: Random;
  readonly #progress: TrainingProgress;
  readonly #lengthOf: (indices: readonly number[]) => number;
  readonly #window = new ReportWindow();
  readonly #stepTimes: number[];
  /** Time up to which the seconds are counted. */
  #counted: number;
  /** Number of the phase whose steps the state is of. */
  #phase: number;
  #takeStep: ReturnType<typeof trainingStep>;
  #state: AdamWState;
  #best: Float32Array | undefined;
  #lastSave = performance.now();
  /** Shapes of the batches so far, for each of which the step is compiled once. */
  readonly #shapes = new Set<string>();

  /** @param initial Flat parameters at the start, `[size]` */
  constructor(
    classifier: Classifier,
    initial: Float32Array,
    private readonly examples: LabelledExamples,
    private readonly options: TrainingOptions,
    private readonly hooks: TrainingHooks,
  ) {
    const { resume } = hooks;
    this.#rates = trainingRates(examples, options);
    const { steps } = this.#rates;
    this.#stepsPerEpoch = steps / options.epochs;
    this.#phases = trainingPhases(classifier, examples, options);
    this.#reportEvery = reportInterval(steps);
    this.#progress = structuredClone(
      resume?.progress ?? initialProgress(options.seed),
    );
    this.#ranks = restoreRandom(this.#progress.ranks);
    const { step } = this.#progress;
    this.#phase = Math.max(
      0,
      this.#phases.findLastIndex(({ from }) => from < step),
    );
    this.#takeStep = this.#makeStep();
    const { padTo } = options;
    this.#lengthOf = padTo === undefined
      ? phaseLengths(this.#phases[0]!, examples, options)
      : () => padTo;
    this.#stepTimes = [...resume?.stepMilliseconds ?? []];
    this.#counted = hooks.started ?? performance.now();
    this.#best = resume?.best;
    this.#state = stateTensors(resume ?? { values: initial });
    this.#tell();
  }

  /** Reports the number of steps taken, with a note on what is done next. */
  #tell(note?: string): void {
    this.hooks.progress?.(this.#progress.step, this.#rates.steps, note);
  }

  get #current(): TrainingPhase {
    return this.#phases[this.#phase]!;
  }

  #makeStep(): ReturnType<typeof trainingStep> {
    const { classifier, objective } = this.#current;
    return trainingStep(classifier, { ...this.options, objective });
  }

  /** True if all steps have been taken. */
  get done(): boolean {
    return this.#progress.step === this.#rates.steps;
  }

  /**
   * Takes the remaining steps of the current epoch.
   *
   * @throws {DivergedError} If the loss becomes infinite or NaN
   * @throws The signal's reason, if it is aborted; a checkpoint is written before
   */
  async finishEpoch(): Promise<void> {
    const { batchSize, accumulation, padTo } = this.options;
    const shuffles = restoreRandom(this.#progress.shuffles);
    const batches = epochBatches(
      this.examples,
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
      const following = this.#phases[this.#phase + 1];
      if (following?.from === this.#progress.step) await this.#enter(following);
      const drawn = this.#step(batches.slice(next, next + accumulation));
      if (this.#progress.step % this.#reportEvery === 0 || this.done) {
        await this.#report(drawn);
      }
      await yieldToEvents();
      const inEpoch = this.#progress.step % this.#stepsPerEpoch !== 0;
      if (inEpoch) await this.#saveIfDue();
    }
    this.#progress.shuffles = shuffles.state;
    if (!this.done || this.hooks.evaluate) await this.#saveIfDue();
  }

  /** Scores the epoch that has just ended, if epochs are evaluated and this one has no score yet. */
  async evaluateEpoch(): Promise<void> {
    const { evaluate, signal } = this.hooks;
    const { step, epochs } = this.#progress;
    const unscored = step - epochs.length * this.#stepsPerEpoch;
    if (!evaluate || unscored < this.#stepsPerEpoch) return;
    const values = await this.#valuesIn(this.#phases.at(-1)!);
    this.#count("seconds");
    try {
      const epoch = step / this.#stepsPerEpoch;
      this.#tell(`scoring epoch ${epoch}`);
      epochs.push({ epoch, step, ...await evaluate(values) });
      if (bestEpoch(epochs) === epochs.at(-1)) this.#best = values;
    } catch (error) {
      this.#count("evaluationSeconds");
      if (signal?.aborted) await this.#save();
      throw error;
    }
    this.#count("evaluationSeconds");
  }

  /** Counts the time since the last call as that of one kind of work. */
  #count(work: "seconds" | "evaluationSeconds"): void {
    const now = performance.now();
    this.#progress[work] += (now - this.#counted) / 1000;
    this.#counted = now;
  }

  /** The result, after all steps have been taken. */
  async result(): Promise<TrainingResult> {
    const last = this.#phases.at(-1)!;
    const values = await this.#valuesIn(last);
    this.#count("seconds");
    const current = this.#current;
    const ofSort = current === last ? 0 : sortFlops(current.classifier.layout);
    const {
      step: steps,
      pendingLoss: _1,
      shuffles: _2,
      ranks: _3,
      ...progress
    } = this.#progress;
    return {
      ...progress,
      steps,
      values,
      best: this.#best,
      flops: progress.flops + ofSort,
      msPerStep: median(this.#stepTimes),
    };
  }

  /** Sorts the factors and goes on in the next phase; the optimizer starts again. */
  async #enter(phase: TrainingPhase): Promise<void> {
    const values = await this.#valuesIn(phase);
    const { layout } = this.#current.classifier;
    tf.dispose(this.#state);
    this.#state = stateTensors({ values });
    this.#progress.flops += sortFlops(layout);
    this.#phase++;
    if (phase.classifier.layout.rank === layout.rank) return;
    this.#takeStep.dispose();
    this.#takeStep = this.#makeStep();
    this.#shapes.clear();
  }

  /** The parameters as the current phase or a later one has them, `[size]` */
  async #valuesIn(phase: TrainingPhase): Promise<Float32Array<ArrayBuffer>> {
    return valuesIn(phase, await readValues(this.#state.values), this.#current);
  }

  /** Takes one optimizer step on these batches. */
  #step(batches: readonly (readonly number[])[]) {
    const started = performance.now();
    const phase = this.#current;
    const { classifier, objective, from } = phase;
    const progress = this.#progress;
    const { length } = objective.lossWeights;
    const padded = batches.flatMap((indices) =>
      padParts(classifier, this.examples, indices, length, this.#lengthOf)
    );
    const note = compilingNote(padded, this.#shapes);
    if (note !== undefined) this.#tell(note);
    const ranks = objective.draw(this.#ranks, batches.flat().length);
    const learningRate = learningRateAt(progress.step, this.#rates);
    const { state, loss } = this.#takeStep(this.#state, padded, {
      step: progress.step,
      optimizerStep: progress.step - from,
      ranks,
      learningRate,
      seed: this.options.seed,
    });
    tf.dispose(this.#state);
    this.#state = state;

    const milliseconds = performance.now() - started;
    const sum = (of: (batch: Batch) => number) =>
      padded.reduce((sum, batch) => sum + of(batch), 0);
    const tokens = sum((batch) => batch.tokens);
    const flops = sum(({ shape }) => phaseFlops(phase, shape));
    progress.paddedTokens += sum(({ shape }) => shape[0] * shape[1]);
    progress.tokens += tokens;
    progress.flops += flops;
    this.#stepTimes.push(milliseconds);
    const step = progress.step++;
    this.#window.add({ step, loss, tokens, flops, milliseconds });
    this.#tell();
    return { ranks, learningRate };
  }

  async #report(
    drawn: Pick<TrainingReport, "ranks" | "learningRate">,
  ): Promise<void> {
    await this.#settleLosses();
    const { step, losses, pendingLoss } = this.#progress;
    const loss = pendingLoss / ((step - 1) % this.#reportEvery + 1);
    losses.push({ step, loss });
    this.#progress.pendingLoss = 0;
    this.hooks.report({
      step,
      steps: this.#rates.steps,
      loss,
      ...drawn,
      ...this.#window.rates(),
    });
  }

  async #settleLosses(): Promise<void> {
    const losses = await this.#window.losses(this.options.learningRate);
    for (const loss of losses) this.#progress.pendingLoss += loss;
  }

  /** @throws The signal's reason, if it is aborted */
  async #saveIfDue(): Promise<void> {
    const { checkpointSeconds = 60, signal } = this.hooks;
    const due = performance.now() - this.#lastSave > checkpointSeconds * 1000;
    if (!due && !signal?.aborted) return;
    await this.#save();
    // Not elsewhere: it may be aborted at every "await", and the step would be lost.
    signal?.throwIfAborted();
  }

  async #save(): Promise<void> {
    await this.#settleLosses();
    const values = await stateValues(this.#state);
    this.#progress.ranks = this.#ranks.state;
    this.#count("seconds");
    this.hooks.save?.({
      ...values,
      best: this.#best,
      progress: this.#progress,
      stepMilliseconds: Float32Array.from(this.#stepTimes),
    });
    this.#lastSave = performance.now();
  }

  [Symbol.dispose](): void {
    this.#window.dispose();
    tf.dispose(this.#state);
    this.#takeStep.dispose();
  }
}
