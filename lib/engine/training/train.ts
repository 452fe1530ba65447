import * as tf from "@tensorflow/tfjs-core";
import type { LabelledExamples } from "../../data/example.ts";
import { sortFlops } from "../adapters/registry.ts";
import type { Classifier } from "../models/classifier.ts";
import { lossNamed } from "../ops/loss.ts";
import { restoreRandom } from "../random.ts";
import type { TraceOptions } from "../trace.ts";
import {
  learningRateAt,
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
  DivergedError,
  median,
  reportInterval,
  speedOf,
  type TakenStep,
  type TrainingReport,
  yieldToEvents,
} from "./progress.ts";
import { type StepOptions, trainingStep } from "./step.ts";

export interface TrainingOptions
  extends PhaseOptions, Omit<StepOptions, keyof TraceOptions> {
  /**
   * Length to which every example is padded. By default, batches are bucketed
   * by length and each is padded to its longest example, or to one of fewer lengths.
   */
  readonly padTo?: number | undefined;
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

/**
 * Trains the parameters that a classifier's layout lists: its adapters and head,
 * its head, or all weights.
 *
 * Deterministic: the same examples, start, options and engine give the same
 * bits, whether training was interrupted or not.
 *
 * @param initial Flat parameters at the start, `[size]`, in the layout of the first of its {@linkcode trainingPhases}
 * @returns Final counts; flat parameters, `[size]`, also of the best epoch where epochs were evaluated; median milliseconds of a step, over all attempts
 * @throws {DivergedError} If the loss becomes infinite or NaN
 * @throws {RangeError} If the objective has no phases of so few steps
 * @throws The signal's reason, if it is aborted; a checkpoint is written before
 */
export async function train(
  classifier: Classifier,
  initial: Float32Array,
  examples: LabelledExamples,
  options: TrainingOptions,
  { resume, evaluate, signal, checkpointSeconds = 60, ...hooks }: TrainingHooks,
) {
  const { accumulation, padTo, seed } = options;
  const isWhole = lossNamed(options.loss).seesBatch === true;
  const rates = trainingRates(examples, options);
  const { steps } = rates;
  const stepsPerEpoch = steps / options.epochs;
  const reportEvery = reportInterval(steps);
  const progress = structuredClone(resume?.progress ?? initialProgress(seed));
  const random = restoreRandom(progress.ranks);
  const phases = trainingPhases(classifier, examples, options);
  const [first, last] = [phases[0]!, phases.at(-1)!];
  /** The phase whose steps the state is of. */
  let phase = phases.findLast(({ from }) => from < progress.step) ?? first;
  let takeStep = makeStep();
  const lengthOf = padTo === undefined
    ? phaseLengths(first, examples, options)
    : () => padTo;
  /** Steps since the last report. */
  const taken: TakenStep[] = [];
  /** Losses that were not read, since reading one waits for its step. */
  const unread: { readonly step: number; readonly loss: tf.Scalar }[] = [];
  const stepTimes = [...resume?.stepMilliseconds ?? []];
  /** Time up to which the seconds are counted. */
  let counted = hooks.started ?? performance.now();
  let best = resume?.best;
  let state = stateTensors(resume ?? { values: initial });
  let lastSave = performance.now();
  /** Shapes of the batches so far, for each of which the step is compiled once. */
  const shapes = new Set<string>();

  function makeStep(): ReturnType<typeof trainingStep> {
    const { classifier, objective } = phase;
    return trainingStep(classifier, { ...options, objective });
  }

  /** Reports the number of steps taken, with a note on what is done next. */
  function tell(note?: string): void {
    hooks.progress?.(progress.step, steps, note);
  }

  /** Takes the remaining steps of the current epoch. */
  async function finishEpoch(): Promise<void> {
    const shuffles = restoreRandom(progress.shuffles);
    const isPadded = padTo !== undefined;
    const batches = epochBatches(
      examples,
      options.batchSize,
      shuffles,
      isPadded,
    );
    const done = progress.step % stepsPerEpoch;
    for (
      let next = done * accumulation;
      next < batches.length;
      next += accumulation
    ) {
      const due = phases.findLast(({ from }) => from <= progress.step)!;
      if (due !== phase) await enter(due);
      const drawn = step(batches.slice(next, next + accumulation));
      if (progress.step % reportEvery === 0 || progress.step === steps) {
        await report(drawn);
      }
      await yieldToEvents();
      if (progress.step % stepsPerEpoch !== 0) await saveIfDue();
    }
    progress.shuffles = shuffles.state;
    if (progress.step < steps || evaluate) await saveIfDue();
  }

  /** Scores the epoch that has just ended, if epochs are evaluated and this one has no score yet. */
  async function scoreEpoch(): Promise<void> {
    const { step, epochs } = progress;
    const unscored = step - epochs.length * stepsPerEpoch;
    if (!evaluate || unscored < stepsPerEpoch) return;
    const values = await valuesAt(last);
    count("seconds");
    try {
      const epoch = step / stepsPerEpoch;
      tell(`scoring epoch ${epoch}`);
      epochs.push({ epoch, step, ...await evaluate(values) });
      if (bestEpoch(epochs) === epochs.at(-1)) best = values;
    } catch (error) {
      count("evaluationSeconds");
      if (signal?.aborted) await save();
      throw error;
    }
    count("evaluationSeconds");
  }

  /** Counts the time since the last call as that of one kind of work. */
  function count(work: "seconds" | "evaluationSeconds"): void {
    const now = performance.now();
    progress[work] += (now - counted) / 1000;
    counted = now;
  }

  /** Sorts the factors and goes on in the next phase; the optimizer starts again. */
  async function enter(next: TrainingPhase): Promise<void> {
    const values = await valuesAt(next);
    const { layout } = phase.classifier;
    tf.dispose(state);
    state = stateTensors({ values });
    progress.flops += sortFlops(layout);
    phase = next;
    if (next.classifier.layout.rank === layout.rank) return;
    takeStep.dispose();
    takeStep = makeStep();
    shapes.clear();
  }

  /** The parameters as the current phase or a later one has them, `[size]` */
  async function valuesAt(
    later: TrainingPhase,
  ): Promise<Float32Array<ArrayBuffer>> {
    return valuesIn(later, await readValues(state.values), phase);
  }

  /** Takes one optimizer step on these batches. */
  function step(batches: readonly (readonly number[])[]) {
    const started = performance.now();
    const { classifier, objective, from } = phase;
    const { length } = objective.lossWeights;
    const padded = batches.flatMap((indices) =>
      padParts(classifier, examples, indices, length, lengthOf, isWhole)
    );
    const note = compilingNote(padded, shapes);
    if (note !== undefined) tell(note);
    const ranks = objective.draw(random, batches.flat().length);
    progress.ranks = random.state;
    const learningRate = learningRateAt(progress.step, rates);
    const found = takeStep(state, padded, {
      step: progress.step,
      optimizerStep: progress.step - from,
      ...{ ranks, learningRate, seed },
    });
    tf.dispose(state);
    state = found.state;

    const milliseconds = performance.now() - started;
    const sum = (of: (batch: Batch) => number) =>
      padded.reduce((sum, batch) => sum + of(batch), 0);
    const tokens = sum((batch) => batch.tokens);
    const flops = sum(({ shape }) => phaseFlops(phase, shape));
    progress.paddedTokens += sum(({ shape }) => shape[0] * shape[1]);
    progress.tokens += tokens;
    progress.flops += flops;
    stepTimes.push(milliseconds);
    taken.push({ tokens, flops, milliseconds });
    unread.push({ step: progress.step++, loss: found.loss });
    tell();
    return { ranks, learningRate };
  }

  async function report(
    drawn: Pick<TrainingReport, "ranks" | "learningRate">,
  ): Promise<void> {
    await settleLosses();
    const { step, pendingLoss } = progress;
    const loss = pendingLoss / ((step - 1) % reportEvery + 1);
    progress.losses.push({ step, loss });
    progress.pendingLoss = 0;
    hooks.report({ step, steps, loss, ...drawn, ...speedOf(taken.splice(0)) });
  }

  async function settleLosses(): Promise<void> {
    for (const { step, loss } of unread) {
      const [value] = await loss.data() as Float32Array;
      if (!Number.isFinite(value)) {
        throw new DivergedError(step, value!, options.learningRate);
      }
      progress.pendingLoss += value!;
    }
    tf.dispose(unread.splice(0));
  }

  /** @throws The signal's reason, if it is aborted */
  async function saveIfDue(): Promise<void> {
    const due = performance.now() - lastSave > checkpointSeconds * 1000;
    if (!due && !signal?.aborted) return;
    await save();
    // Not elsewhere: it may be aborted at every "await", and the step would be lost.
    signal?.throwIfAborted();
  }

  async function save(): Promise<void> {
    await settleLosses();
    const values = await stateValues(state);
    count("seconds");
    const stepMilliseconds = Float32Array.from(stepTimes);
    hooks.save?.({ ...values, best, progress, stepMilliseconds });
    lastSave = performance.now();
  }

  try {
    tell();
    await scoreEpoch();
    while (progress.step < steps) {
      await finishEpoch();
      await scoreEpoch();
    }
    const values = await valuesAt(last);
    count("seconds");
    if (phase !== last) progress.flops += sortFlops(phase.classifier.layout);
    return { ...progress, steps, values, best, msPerStep: median(stepTimes) };
  } finally {
    tf.dispose([state, unread]);
    takeStep.dispose();
  }
}
