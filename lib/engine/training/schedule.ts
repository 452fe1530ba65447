/** Linear warm-up from 0, then linear decay to 0. */
export interface Schedule {
  readonly learningRate: number;
  readonly steps: number;
  /** Share of the steps that warm up, rounded up to whole steps. */
  readonly warmupRatio: number;
}

/**
 * Learning rate of a step, counted from 0, as `get_linear_schedule_with_warmup`
 * of transformers gives it.
 */
export function learningRateAt(step: number, schedule: Schedule): number {
  const warmup = Math.ceil(schedule.warmupRatio * schedule.steps);
  const factor = step < warmup ? step / Math.max(1, warmup) : Math.max(
    0,
    (schedule.steps - step) / Math.max(1, schedule.steps - warmup),
  );
  return schedule.learningRate * factor;
}
