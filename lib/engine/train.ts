import * as tf from "@tensorflow/tfjs-core";
import type { AdamWOptions, AdamWState } from "./adamw.ts";
import {
  epochBatches,
  exampleCount,
  type Examples,
  padBatch,
} from "./batches.ts";
import type { Checkpoint, LossEntry, TrainingProgress } from "./checkpoint.ts";
import type { Classifier } from "./classifier.ts";
import { trainingFlops } from "./flops.ts";
import { median } from "./median.ts";
import { restoreRandom, seededRandom } from "./random.ts";
import { trainedRows, type UpdateMode } from "./rank_vectors.ts";
import { ReportWindow } from "./report_window.ts";
import { rankSampler, type Sampler } from "./sampler.ts";
import { learningRateAt, type Schedule } from "./schedule.ts";
import { Stopwatch } from "./stopwatch.ts";
import { trainingStep } from "./training_step.ts";

/** How to train. LoRA of rank r is DyLoRA of maximum rank r that always draws r. */
export interface TrainingOptions {
  readonly alpha: number;
  readonly mode: UpdateMode;
  readonly sampler: Sampler;
  readonly epochs: number;
  /** Examples of one forward and backward pass. */
  readonly batchSize: number;
  /** Passes whose gradients make one optimizer step. */
  readonly accumulation: number;
  readonly learningRate: number;
  readonly warmupRatio: number;
  readonly optimizer: AdamWOptions;
  readonly dropout: boolean;
  readonly seed: number;
}

/** What training says while it goes on, and where it may resume. */
export interface TrainingHooks {
  /** Called every few steps. */
  readonly report: (report: TrainingReport) => void;
  /** Aborted to stop training; a checkpoint is written before it ends. */
  readonly signal?: AbortSignal;
  /** Where to resume from, if training was interrupted. */
  readonly resume?: Checkpoint | undefined;
  /** Keeps a checkpoint; called at most every `checkpointSeconds`. */
  readonly save?: (checkpoint: Checkpoint) => void;
  readonly checkpointSeconds?: number;
  /** Counts the seconds of training; it may have begun before, with what prepares the training. */
  readonly stopwatch?: Stopwatch;
}

/** State of training after a step. */
export interface TrainingReport {
  /** Optimizer steps taken. */
  readonly step: number;
  readonly steps: number;
  /** Mean loss of the steps since the last report. */
  readonly loss: number;
  readonly learningRate: number;
  /** Rank of the last step. */
  readonly rank: number;
  /** Median of the steps since the last report. */
  readonly msPerStep: number;
  /** Tokens a second since the last report, padding not counted. */
  readonly tokensPerSecond: number;
}

/** What training gives. */
export interface TrainingResult {
  /** Flat parameters, `[size]` */
  readonly values: Float32Array<ArrayBuffer>;
  readonly steps: number;
  /** Tokens of all steps, padding not counted. */
  readonly tokens: number;
  /** Tokens that all steps computed, padding included. */
  readonly paddedTokens: number;
  /** Floating-point operations of all steps, as {@linkcode trainingFlops} counts them. */
  readonly flops: number;
  /** Mean loss of every so many steps. */
  readonly losses: readonly LossEntry[];
  /** Median milliseconds of a step, over all attempts. */
  readonly msPerStep: number;
  /** Seconds of training, over all attempts. */
  readonly seconds: number;
}

/** Training ended because the loss is not a number any more. */
export class DivergedError extends Error {
  override readonly name = "DivergedError";
}

/** Steps between two reports: at least 10, and at most 200 reports in all. */
function reportInterval(steps: number): number {
  return Math.max(10, Math.ceil(steps / 200));
}

/**
 * Trains a classifier's adapters and head.
 *
 * Deterministic: the same examples, start, options and engine give the same
 * bits, whether training was interrupted or not.
 *
 * @param initial Flat parameters at the start, `[size]`
 * @throws {DivergedError} If the loss becomes infinite or not a number
 * @throws The signal's reason, if it is aborted
 */
export async function train(
  classifier: Classifier,
  initial: Float32Array,
  examples: Examples,
  options: TrainingOptions,
  hooks: TrainingHooks,
): Promise<TrainingResult> {
  const { layout, config } = classifier;
  const stepsPerEpoch = Math.ceil(
    exampleCount(examples) / (options.batchSize * options.accumulation),
  );
  const schedule: Schedule = {
    learningRate: options.learningRate,
    steps: stepsPerEpoch * options.epochs,
    warmupRatio: options.warmupRatio,
  };
  const reportEvery = reportInterval(schedule.steps);
  const progress = structuredClone(
    hooks.resume?.progress ?? startOfTraining(options.seed, layout.rank),
  );
  const ranks = restoreRandom(progress.ranks);
  const drawRank = rankSampler(options.sampler, layout.rank, ranks);
  const takeStep = trainingStep(classifier, options);
  const window = new ReportWindow();
  const stepTimes = [...hooks.resume?.stepMilliseconds ?? []];
  const stopwatch = hooks.stopwatch ?? new Stopwatch();
  stopwatch.add(progress.seconds);
  stopwatch.start();
  let state = stateTensors(hooks.resume ?? { values: initial });
  let lastSave = performance.now();

  const settleLosses = async () => {
    for (const { step, loss } of await window.losses()) {
      if (!Number.isFinite(loss)) {
        throw new DivergedError(divergence(step, loss, options));
      }
      progress.pendingLoss += loss;
    }
  };
  const save = async () => {
    await settleLosses();
    progress.ranks = ranks.state;
    const values = await stateValues(state);
    progress.seconds = stopwatch.seconds;
    hooks.save?.({
      ...values,
      progress,
      stepMilliseconds: Float32Array.from(stepTimes),
    });
    lastSave = performance.now();
  };

  try {
    while (progress.step < schedule.steps) {
      const shuffles = restoreRandom(progress.shuffles);
      const batches = epochBatches(examples, options.batchSize, shuffles);
      const done = (progress.step % stepsPerEpoch) * options.accumulation;
      for (
        let next = done;
        next < batches.length;
        next += options.accumulation
      ) {
        hooks.signal?.throwIfAborted();
        const started = performance.now();
        const padded = batches.slice(next, next + options.accumulation)
          .map((indices) => padBatch(examples, indices, config));
        const rank = drawRank();
        countRows(
          progress.rowSteps,
          trainedRows(rank, options.mode, layout.rank),
        );
        const learningRate = learningRateAt(progress.step, schedule);
        const result = takeStep(state, padded, {
          step: progress.step,
          rank,
          learningRate,
          seed: options.seed,
          rowSteps: progress.rowSteps,
        });
        tf.dispose([state.values, state.moment1, state.moment2]);
        state = result.state;

        const tokens = padded.reduce((sum, batch) => sum + batch.tokens, 0);
        const milliseconds = performance.now() - started;
        progress.tokens += tokens;
        for (const { shape } of padded) {
          progress.paddedTokens += shape[0] * shape[1];
          progress.flops += trainingFlops(classifier, shape);
        }
        stepTimes.push(milliseconds);
        window.add({
          step: progress.step++,
          loss: result.loss,
          tokens,
          milliseconds,
        });
        if (
          progress.step % reportEvery === 0 || progress.step === schedule.steps
        ) {
          await settleLosses();
          const loss = progress.pendingLoss /
            ((progress.step - 1) % reportEvery + 1);
          progress.losses.push({ step: progress.step, loss });
          progress.pendingLoss = 0;
          hooks.report({
            step: progress.step,
            steps: schedule.steps,
            loss,
            learningRate,
            rank,
            ...window.rates(),
          });
        }
        await breathe();
        const due =
          performance.now() - lastSave > (hooks.checkpointSeconds ?? 60) * 1000;
        const midEpoch = next + options.accumulation < batches.length;
        if (midEpoch && (due || hooks.signal?.aborted)) await save();
      }
      progress.shuffles = shuffles.state;
    }
    const { values } = await stateValues(state);
    stopwatch.stop();
    return {
      values,
      steps: progress.step,
      tokens: progress.tokens,
      paddedTokens: progress.paddedTokens,
      flops: progress.flops,
      losses: progress.losses,
      msPerStep: median(stepTimes),
      seconds: stopwatch.seconds,
    };
  } finally {
    window.dispose();
    tf.dispose([state.values, state.moment1, state.moment2]);
    takeStep.dispose();
  }
}

function startOfTraining(seed: number, rank: number): TrainingProgress {
  return {
    step: 0,
    tokens: 0,
    paddedTokens: 0,
    flops: 0,
    losses: [],
    pendingLoss: 0,
    rowSteps: Array<number>(rank).fill(0),
    shuffles: seededRandom(seed, "shuffle").state,
    ranks: seededRandom(seed, "rank").state,
    seconds: 0,
  };
}

function countRows(rowSteps: number[], trained: Float32Array): void {
  trained.forEach((counted, row) => rowSteps[row]! += counted);
}

function stateTensors(
  { values, moment1, moment2 }: {
    readonly values: Float32Array;
    readonly moment1?: Float32Array;
    readonly moment2?: Float32Array;
  },
): AdamWState {
  const zeros = () => tf.zeros([values.length]) as tf.Tensor1D;
  return {
    values: tf.tensor1d(values),
    moment1: moment1 === undefined ? zeros() : tf.tensor1d(moment1),
    moment2: moment2 === undefined ? zeros() : tf.tensor1d(moment2),
  };
}

async function stateValues(state: AdamWState) {
  const read = async (tensor: tf.Tensor1D) =>
    (await tensor.data()).slice() as Float32Array<ArrayBuffer>;
  return {
    values: await read(state.values),
    moment1: await read(state.moment1),
    moment2: await read(state.moment2),
  };
}

function divergence(
  step: number,
  loss: number,
  { learningRate }: TrainingOptions,
): string {
  return `The loss of step ${step + 1} is ${loss}: training has diverged. ` +
    `Try a lower learning rate than ${learningRate}, a longer warm-up, or precision "f32"`;
}

let lastBreath = performance.now();

/** Lets timers, signals and messages in, now and then: a step blocks the thread. */
async function breathe(): Promise<void> {
  if (performance.now() - lastBreath < 100) return;
  await new Promise((resolve) => setTimeout(resolve, 0));
  lastBreath = performance.now();
}
