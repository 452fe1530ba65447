/** State of training after a step. */
export interface TrainingReport extends ReturnType<typeof speedOf> {
  /** Optimizer steps taken. */
  readonly step: number;
  readonly steps: number;
  /** Mean loss of the steps since the last report. */
  readonly loss: number;
  readonly learningRate: number;
  /** Rank of the last step, or of each of its examples. */
  readonly ranks: readonly number[];
}

/** A step that was taken. */
export interface TakenStep {
  /** Padding not counted. */
  readonly tokens: number;
  /** Floating-point operations of its products. */
  readonly flops: number;
  readonly milliseconds: number;
}

/** Speed of some steps. */
export function speedOf(taken: readonly TakenStep[]) {
  const sum = (of: "tokens" | "flops" | "milliseconds") =>
    taken.reduce((sum, step) => sum + step[of], 0);
  const seconds = sum("milliseconds") / 1000;
  return {
    /** Median of the steps. */
    msPerStep: median(taken.map(({ milliseconds }) => milliseconds)),
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

/** Lets pending timers, signals and messages run, at most every 0.1 s, since a pass over a batch blocks the thread. */
export async function yieldToEvents(): Promise<void> {
  if (performance.now() - lastYield < 100) return;
  await new Promise((resolve) => setTimeout(resolve, 0));
  lastYield = performance.now();
}
