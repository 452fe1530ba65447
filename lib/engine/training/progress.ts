import type * as tf from "@tensorflow/tfjs-core";
import type { TrainingProgress } from "./checkpoint.ts";

/** Speed of some steps. */
export interface StepSpeed {
  /** Median milliseconds of a step. */
  readonly msPerStep: number;
  /** Padding not counted. */
  readonly tokensPerSecond: number;
  readonly flopsPerSecond: number;
}

/** State of training after a step. */
export interface TrainingReport extends StepSpeed {
  /** Optimizer steps taken. */
  readonly step: number;
  /** Optimizer steps of the whole training. */
  readonly steps: number;
  /** Mean loss of the steps since the last report. */
  readonly loss: number;
  readonly learningRate: number;
  /** Rank of the last step, or of each of its examples. */
  readonly ranks: readonly number[];
}

/** What a step computed, and in what time. */
export interface StepCost {
  /** Padding not counted. */
  readonly tokens: number;
  /** Floating-point operations of its products. */
  readonly flops: number;
  readonly milliseconds: number;
}

/** Losses and speed of the steps of a training, until they are reported. */
export class StepLog implements Disposable {
  readonly #learningRate: number;
  /** Costs of the steps since the last report. */
  #costs: StepCost[] = [];
  /** Losses that were not read, since reading one waits for its step. */
  #unread: { readonly step: number; readonly loss: tf.Scalar }[] = [];

  /** @param learningRate The highest, for the advice when training diverges */
  constructor(learningRate: number) {
    this.#learningRate = learningRate;
  }

  /**
   * Adds a step.
   *
   * @param step Number of the step, from 0
   * @param loss Disposed when it is read
   */
  add(step: number, loss: tf.Scalar, cost: StepCost): void {
    this.#unread.push({ step, loss });
    this.#costs.push(cost);
  }

  /**
   * Adds the losses that were not read yet to the pending loss.
   *
   * @throws {DivergedError} If a loss is infinite or NaN
   */
  async readLosses(progress: TrainingProgress): Promise<void> {
    for (const { step, loss } of this.#unread) {
      const [value] = await loss.data() as Float32Array;
      if (!Number.isFinite(value)) {
        throw new DivergedError(step, value!, this.#learningRate);
      }
      progress.pendingLoss += value!;
    }
    this[Symbol.dispose]();
  }

  /** Speed of the steps since the last call. */
  takeSpeed(): StepSpeed {
    const costs = this.#costs;
    this.#costs = [];
    return speedOf(costs);
  }

  [Symbol.dispose](): void {
    for (const { loss } of this.#unread) loss.dispose();
    this.#unread = [];
  }
}

/** Speed of one or more steps. */
export function speedOf(costs: readonly StepCost[]): StepSpeed {
  const sum = (name: keyof StepCost) =>
    costs.reduce((sum, cost) => sum + cost[name], 0);
  const seconds = sum("milliseconds") / 1000;
  return {
    msPerStep: median(costs.map(({ milliseconds }) => milliseconds)),
    tokensPerSecond: sum("tokens") / seconds,
    flopsPerSecond: sum("flops") / seconds,
  };
}

/** Median of one or more numbers. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? sorted[middle]!
    : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Training ended because the loss became infinite or NaN. */
export class DivergedError extends Error {
  override readonly name = "DivergedError";

  /** @param step Number of the step, from 0 */
  constructor(step: number, loss: number, learningRate: number) {
    super(
      `The loss of step ${step + 1} is ${loss}: training has diverged. ` +
        `Try a lower learning rate than ${learningRate}, a longer warm-up, or precision "f32"`,
    );
  }
}

/** Steps between two reports: at least 10, and at most 200 reports in all. */
export function reportInterval(steps: number): number {
  return Math.max(10, Math.ceil(steps / 200));
}

let lastYield = performance.now();

/**
 * Lets pending timers, signals and messages run, at most every 0.1 s, since a
 * pass over a batch blocks the thread.
 */
export async function yieldToEvents(): Promise<void> {
  if (performance.now() - lastYield < 100) return;
  await new Promise((resolve) => setTimeout(resolve, 0));
  lastYield = performance.now();
}
