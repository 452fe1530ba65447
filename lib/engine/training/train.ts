import type { LabelledExamples } from "../../data/example.ts";
import { sortFlops } from "../adapters/registry.ts";
import type { Classifier } from "../models/classifier.ts";
import { type LossName, lossNamed } from "../ops/loss.ts";
import { restoreRandom } from "../random.ts";
import {
  type AdamWOptions,
  learningRateAt,
  type LearningRates,
} from "./adamw.ts";
import { type Batch, epochBatches, padParts } from "./batch.ts";
import {
  bestEpoch,
  type Checkpoint,
  type EpochScores,
  initialProgress,
  type TrainingProgress,
} from "./checkpoint.ts";
import { PhaseOptimizer } from "./optimizer.ts";
import {
  phaseFlops,
  phaseLengths,
  type PhaseOptions,
  type TrainingPhase,
  trainingPhases,
  trainingRates,
} from "./phases.ts";
import {
  median,
  reportInterval,
  StepLog,
  type TrainingReport,
  yieldToEvents,
} from "./progress.ts";
import type { StepDraw } from "./step.ts";

export interface TrainingOptions extends PhaseOptions {
  readonly loss: LossName;
  readonly optimizer: AdamWOptions;
  /** False switches dropout off. */
  readonly dropout: boolean;
  /**
   * Weight of each class, as the loss takes it: of PyTorch's
   * `CrossEntropyLoss(weight=)`, or `BCEWithLogitsLoss(pos_weight=)`; equal by
   * default.
   */
  readonly classWeights?: readonly number[] | undefined;
  /**
   * Length to which every example is padded. By default, batches are bucketed
   * by length and each is padded to its longest example, or to one of fewer
   * lengths.
   */
  readonly padTo?: number | undefined;
  /** Seed of shuffles, ranks and dropout. */
  readonly seed: number;
}

/** Callbacks of training, and the checkpoint to resume from. */
export interface TrainingHooks {
  /** Called every few steps. */
  readonly report: (report: TrainingReport) => void;
  /**
   * Called at the start and after every step with the number of steps taken,
   * and before other work with a note: `compiling length 32`,
   * `scoring epoch 1`.
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
  /** 60 by default. */
  readonly checkpointSeconds?: number;
  /**
   * Time (`performance.now()`) from which the seconds of training count, to
   * include preparations.
   */
  readonly started?: number;
}

/** Final counts and parameters of a training. */
export interface TrainingResult extends TrainingProgress {
  /** Optimizer steps of the whole training. */
  readonly steps: number;
  /** Flat parameters at the end, `[size]`, in the layout of the last phase. */
  readonly values: Float32Array<ArrayBuffer>;
  /** Flat parameters of the best epoch, `[size]`, if epochs were evaluated. */
  readonly best: Float32Array | undefined;
  /** Median milliseconds of a step, over all attempts. */
  readonly msPerStep: number;
}

/** What stays the same throughout a training. */
interface TrainingSetup {
  readonly examples: LabelledExamples;
  readonly options: TrainingOptions;
  readonly phases: readonly TrainingPhase[];
  readonly rates: LearningRates;
  /** Length to which a batch is padded. */
  readonly padLengthOf: (indices: readonly number[]) => number;
}

/** What changes in the course of a training. */
interface TrainingState {
  readonly progress: TrainingProgress;
  readonly optimizer: PhaseOptimizer;
  readonly log: StepLog;
  /** Milliseconds of each step, over all attempts. */
  readonly stepMilliseconds: number[];
  /** Flat parameters of the best epoch so far, if epochs are evaluated. */
  best: Float32Array | undefined;
  /** Time (`performance.now()`) up to which seconds are counted. */
  countedUntil: number;
  /** Time (`performance.now()`) of the last checkpoint, or of the start. */
  savedAt: number;
}

/**
 * Trains the parameters that a classifier's layout lists: its adapters and
 * head, its head, or all weights.
 *
 * Deterministic: the same examples, start, options and engine give the same
 * bits, whether training was interrupted or not.
 *
 * @param classifier The trained classifier, as the last phase has it
 * @param initial Flat parameters at the start, `[size]`, in the layout of the
 * first of its {@linkcode trainingPhases}
 * @throws {DivergedError} If the loss becomes infinite or NaN
 * @throws {RangeError} If the objective has no phases of so few steps
 * @throws The signal's reason, if it is aborted; a checkpoint is written before
 */
export async function train(
  classifier: Classifier,
  initial: Float32Array,
  examples: LabelledExamples,
  options: TrainingOptions,
  hooks: TrainingHooks,
): Promise<TrainingResult> {
  const { accumulation, batchSize, padTo, seed } = options;
  const { evaluate, resume } = hooks;
  const rates = trainingRates(examples, options);
  const { steps } = rates;
  const stepsPerEpoch = steps / options.epochs;
  const reportEvery = reportInterval(steps);
  const phases = trainingPhases(classifier, examples, options);
  const lastPhase = phases.at(-1)!;
  const padLengthOf = padTo === undefined
    ? phaseLengths(phases[0]!, examples, options)
    : () => padTo;
  const setup = { examples, options, phases, rates, padLengthOf };

  const progress = structuredClone(resume?.progress ?? initialProgress(seed));
  using optimizer = new PhaseOptimizer(
    phases.findLast(({ from }) => from < progress.step) ?? phases[0]!,
    resume ?? { values: initial },
    options,
  );
  using log = new StepLog(options.learningRate);
  const state: TrainingState = {
    progress,
    optimizer,
    log,
    stepMilliseconds: [...resume?.stepMilliseconds ?? []],
    best: resume?.best,
    countedUntil: hooks.started ?? performance.now(),
    savedAt: performance.now(),
  };
  const showProgress = (note?: string) =>
    hooks.progress?.(progress.step, steps, note);

  showProgress();
  while (true) {
    // At the start as well: a training may be interrupted while it scores.
    const epoch = Math.floor(progress.step / stepsPerEpoch);
    if (evaluate !== undefined && progress.epochs.length < epoch) {
      showProgress(`scoring epoch ${epoch}`);
      const values = await optimizer.valuesAt(lastPhase);
      await evaluateEpoch(state, epoch, values, evaluate, hooks);
    }
    if (progress.step >= steps) break;

    const shuffles = restoreRandom(progress.shuffleGenerator);
    const batches = epochBatches(
      examples,
      batchSize,
      shuffles,
      padTo !== undefined,
    );
    const firstBatch = progress.step % stepsPerEpoch * accumulation;
    for (let at = firstBatch; at < batches.length; at += accumulation) {
      const batchesOfStep = batches.slice(at, at + accumulation);
      const draw = await takeStep(setup, state, batchesOfStep, showProgress);
      showProgress();
      if (progress.step % reportEvery === 0 || progress.step === steps) {
        await log.readLosses(progress);
        const loss = progress.pendingLoss /
          ((progress.step - 1) % reportEvery + 1);
        progress.losses.push({ step: progress.step, loss });
        progress.pendingLoss = 0;
        hooks.report({
          step: progress.step,
          steps,
          loss,
          learningRate: draw.learningRate,
          ranks: draw.ranks,
          ...log.takeSpeed(),
        });
      }
      await yieldToEvents();
      const isEpochEnd = progress.step % stepsPerEpoch === 0;
      if (isEpochEnd) progress.shuffleGenerator = shuffles.state;
      // After the last step, only scores of its epoch are left to lose.
      const isComplete = progress.step === steps && evaluate === undefined;
      if (!isComplete) await saveIfDue(state, hooks);
    }
  }

  const values = await optimizer.valuesAt(lastPhase);
  countSeconds(state, "seconds");
  if (optimizer.phase !== lastPhase) {
    progress.flops += sortFlops(optimizer.phase.classifier.layout);
  }
  return {
    ...progress,
    steps,
    values,
    best: state.best,
    msPerStep: median(state.stepMilliseconds),
  };
}

/**
 * Takes an optimizer step on some batches, in the phase that is due, and
 * counts it.
 *
 * @param batches Lists of example numbers
 * @param showNote Called with a note before a length is compiled
 * @returns What was drawn for the step
 */
async function takeStep(
  { examples, options, phases, rates, padLengthOf }: TrainingSetup,
  { progress, optimizer, log, stepMilliseconds }: TrainingState,
  batches: readonly (readonly number[])[],
  showNote: (note: string) => void,
): Promise<StepDraw> {
  const phase = phases.findLast(({ from }) => from <= progress.step)!;
  if (phase !== optimizer.phase) {
    progress.flops += sortFlops(optimizer.phase.classifier.layout);
    await optimizer.enter(phase);
  }
  const { classifier, objective } = phase;

  const started = performance.now();
  const seesBatch = lossNamed(options.loss).seesBatch === true;
  const rankCount = objective.lossWeights.length;
  const parts = batches.flatMap((indices) =>
    padParts(classifier, examples, indices, rankCount, padLengthOf, seesBatch)
  );
  const note = optimizer.compilingNote(parts);
  if (note !== undefined) showNote(note);
  const random = restoreRandom(progress.rankGenerator);
  const draw: StepDraw = {
    step: progress.step,
    optimizerStep: progress.step - phase.from,
    ranks: objective.draw(random, batches.flat().length),
    learningRate: learningRateAt(progress.step, rates),
    seed: options.seed,
  };
  const loss = optimizer.step(parts, draw);
  const milliseconds = performance.now() - started;

  const sum = (valueOf: (part: Batch) => number) =>
    parts.reduce((sum, part) => sum + valueOf(part), 0);
  const tokens = sum((part) => part.tokens);
  const flops = sum(({ shape }) => phaseFlops(phase, shape));
  progress.paddedTokens += sum(({ shape }) => shape[0] * shape[1]);
  progress.tokens += tokens;
  progress.flops += flops;
  progress.rankGenerator = random.state;
  progress.step++;
  stepMilliseconds.push(milliseconds);
  log.add(draw.step, loss, { tokens, flops, milliseconds });
  return draw;
}

/**
 * Scores an epoch that has just ended, and keeps its parameters if it is the
 * best so far.
 *
 * @param values Flat parameters of the last phase, `[size]`
 */
async function evaluateEpoch(
  state: TrainingState,
  epoch: number,
  values: Float32Array,
  evaluate: NonNullable<TrainingHooks["evaluate"]>,
  hooks: TrainingHooks,
): Promise<void> {
  const { step, epochs } = state.progress;
  countSeconds(state, "seconds");
  try {
    const { score, ranks } = await evaluate(values);
    epochs.push({ epoch, step, score, ranks });
  } catch (error) {
    countSeconds(state, "evaluationSeconds");
    if (hooks.signal?.aborted) await save(state, hooks);
    throw error;
  }
  countSeconds(state, "evaluationSeconds");
  if (bestEpoch(epochs) === epochs.at(-1)) state.best = values;
}

/** Counts the time since the last call as that of one kind of work. */
function countSeconds(
  state: TrainingState,
  work: "seconds" | "evaluationSeconds",
): void {
  const now = performance.now();
  state.progress[work] += (now - state.countedUntil) / 1000;
  state.countedUntil = now;
}

/**
 * Stores a checkpoint if the last one is old, or training is to stop.
 *
 * @throws The signal's reason, if it is aborted
 */
async function saveIfDue(
  state: TrainingState,
  hooks: TrainingHooks,
): Promise<void> {
  const { checkpointSeconds = 60, signal } = hooks;
  const isOld = performance.now() - state.savedAt > checkpointSeconds * 1000;
  if (!isOld && !signal?.aborted) return;
  await save(state, hooks);
  // Not elsewhere: it may be aborted at every "await", and the step would be
  // lost.
  signal?.throwIfAborted();
}

async function save(state: TrainingState, hooks: TrainingHooks): Promise<void> {
  const { progress, optimizer, log, best } = state;
  await log.readLosses(progress);
  const values = await optimizer.stateValues();
  countSeconds(state, "seconds");
  hooks.save?.({
    ...values,
    best,
    progress,
    stepMilliseconds: Float32Array.from(state.stepMilliseconds),
  });
  state.savedAt = performance.now();
}
