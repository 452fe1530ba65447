import * as tf from "@tensorflow/tfjs-core";
import type { AdamWOptions } from "./adamw.ts";
import {
  epochBatches,
  exampleCount,
  type Examples,
  padBatch,
} from "./batches.ts";
import type { LossEntry, TrainingProgress } from "./checkpoint.ts";
import type { Classifier } from "./classifier.ts";
import { DivergedError } from "./divergence.ts";
import { bestEpoch, type EpochScores } from "./epoch_scores.ts";
import { trainingFlops } from "./flops.ts";
import { type Matryoshka, matryoshkaGroups } from "./matryoshka.ts";
import { median } from "./median.ts";
import { paddedLengths } from "./padded_lengths.ts";
import { restoreRandom, seededRandom } from "./random.ts";
import { type RankDrawOptions, RankDraws } from "./rank_draws.ts";
import { ReportWindow } from "./report_window.ts";
import { learningRateAt, type Schedule } from "./schedule.ts";
import { Stopwatch } from "./stopwatch.ts";
import type { TrainingHooks } from "./training_hooks.ts";
import { readValues, stateTensors, stateValues } from "./training_state.ts";
import { trainingStep } from "./training_step.ts";

/** How to train. LoRA of rank r is DyLoRA of maximum rank r that always draws r. */
export interface TrainingOptions extends RankDrawOptions {
  readonly alpha: number;
  /** Trains several ranks in each step; the sampler then draws the maximum rank only. */
  readonly matryoshka?: Matryoshka | undefined;
  readonly epochs: number;
  /** Examples of one forward and backward pass. */
  readonly batchSize: number;
  /** Passes whose gradients make one optimizer step. */
  readonly accumulation: number;
  /**
   * Length to which every example is padded. By default, batches are formed by
   * length and each is padded to its longest, or to one of fewer lengths.
   */
  readonly padTo?: number | undefined;
  readonly learningRate: number;
  readonly warmupRatio: number;
  readonly optimizer: AdamWOptions;
  readonly dropout: boolean;
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
  /** Scores of every epoch, where they were evaluated. */
  readonly epochs: readonly EpochScores[];
  /** Flat parameters of the best epoch, `[size]`, where epochs were evaluated. */
  readonly best: Float32Array | undefined;
  /** Seconds of these evaluations, over all attempts. */
  readonly evaluationSeconds: number;
}

/** Steps between two reports: at least 10, and at most 200 reports in all. */
function reportInterval(steps: number): number {
  return Math.max(10, Math.ceil(steps / 200));
}

/** The length that each batch is padded to, as a sample of a pass over the examples shows what lengths there are. */
function lengthsOf(
  classifier: Classifier,
  examples: Examples,
  { padTo, seed, batchSize, epochs }: TrainingOptions,
  groups: number,
): (indices: readonly number[]) => number {
  if (padTo !== undefined) return () => padTo;
  const sample = epochBatches(
    examples,
    batchSize,
    seededRandom(seed, "lengths"),
  );
  return paddedLengths(
    examples,
    sample,
    epochs,
    (shape) => trainingFlops(classifier, shape, groups),
  );
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
  const ranks = new RankDraws(options, layout, hooks.resume?.progress);
  const progress = structuredClone(
    hooks.resume?.progress ?? startOfTraining(options.seed, ranks),
  );
  const groups = options.matryoshka ? matryoshkaGroups(options.matryoshka) : 1;
  const takeStep = trainingStep(classifier, options);
  const lengthOf = lengthsOf(classifier, examples, options, groups);
  const window = new ReportWindow();
  const stepTimes = [...hooks.resume?.stepMilliseconds ?? []];
  const stopwatch = hooks.stopwatch ?? new Stopwatch();
  stopwatch.add(progress.seconds);
  stopwatch.start();
  const evaluations = new Stopwatch();
  evaluations.add(progress.evaluationSeconds);
  let best = hooks.resume?.best;
  let state = stateTensors(hooks.resume ?? { values: initial });
  let lastSave = performance.now();

  const settleLosses = async () => {
    for (const { step, loss } of await window.losses()) {
      if (!Number.isFinite(loss)) {
        throw new DivergedError(step, loss, options.learningRate);
      }
      progress.pendingLoss += loss;
    }
  };
  const save = async () => {
    await settleLosses();
    Object.assign(progress, ranks.state);
    const values = await stateValues(state);
    progress.seconds = stopwatch.seconds;
    progress.evaluationSeconds = evaluations.seconds;
    hooks.save?.({
      ...values,
      best,
      progress,
      stepMilliseconds: Float32Array.from(stepTimes),
    });
    lastSave = performance.now();
  };
  const saveIfDue = async () => {
    const due =
      performance.now() - lastSave > (hooks.checkpointSeconds ?? 60) * 1000;
    if (due || hooks.signal?.aborted) await save();
  };
  const evaluateEpoch = async (
    evaluate: NonNullable<TrainingHooks["evaluate"]>,
  ) => {
    const values = await readValues(state.values);
    stopwatch.stop();
    evaluations.start();
    try {
      const { step, epochs } = progress;
      epochs.push({
        epoch: step / stepsPerEpoch,
        step,
        ...await evaluate(values),
      });
      if (bestEpoch(epochs) === epochs.at(-1)) best = values;
    } catch (error) {
      if (hooks.signal?.aborted) await save();
      throw error;
    }
    evaluations.stop();
    stopwatch.start();
  };

  try {
    while (true) {
      const evaluated = progress.epochs.length * stepsPerEpoch;
      if (hooks.evaluate && progress.step - evaluated >= stepsPerEpoch) {
        await evaluateEpoch(hooks.evaluate);
      }
      if (progress.step === schedule.steps) break;
      const shuffles = restoreRandom(progress.shuffles);
      const batches = epochBatches(
        examples,
        options.batchSize,
        shuffles,
        options.padTo !== undefined,
      );
      const done = (progress.step % stepsPerEpoch) * options.accumulation;
      for (
        let next = done;
        next < batches.length;
        next += options.accumulation
      ) {
        hooks.signal?.throwIfAborted();
        const started = performance.now();
        const padded = batches.slice(next, next + options.accumulation)
          .map((indices) =>
            padBatch(examples, indices, config, lengthOf(indices))
          );
        const rank = ranks.next();
        const learningRate = learningRateAt(progress.step, schedule);
        const result = takeStep(state, padded, {
          step: progress.step,
          rank,
          learningRate,
          seed: options.seed,
          rowSteps: ranks.rowSteps,
        });
        tf.dispose([state.values, state.moment1, state.moment2]);
        state = result.state;

        const tokens = padded.reduce((sum, batch) => sum + batch.tokens, 0);
        const milliseconds = performance.now() - started;
        progress.tokens += tokens;
        let flops = 0;
        for (const { shape } of padded) {
          progress.paddedTokens += shape[0] * shape[1];
          flops += trainingFlops(classifier, shape, groups);
        }
        progress.flops += flops;
        stepTimes.push(milliseconds);
        window.add({
          step: progress.step++,
          loss: result.loss,
          tokens,
          flops,
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
        if (progress.step % stepsPerEpoch !== 0) await saveIfDue();
      }
      progress.shuffles = shuffles.state;
      if (progress.step < schedule.steps || hooks.evaluate) await saveIfDue();
    }
    const values = await readValues(state.values);
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
      epochs: progress.epochs,
      best,
      evaluationSeconds: evaluations.seconds,
    };
  } finally {
    window.dispose();
    tf.dispose([state.values, state.moment1, state.moment2]);
    takeStep.dispose();
  }
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

let lastBreath = performance.now();

/** Lets timers, signals and messages in, now and then: a step blocks the thread. */
async function breathe(): Promise<void> {
  if (performance.now() - lastBreath < 100) return;
  await new Promise((resolve) => setTimeout(resolve, 0));
  lastBreath = performance.now();
}
