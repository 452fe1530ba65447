import { interval } from "./statistics/sample.ts";

/** A number as JSON has it: null for NaN. */
export function defined(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}

export function definedInterval(
  values: ArrayLike<number>,
  confidence: number,
): [number, number] | null {
  const [low, high] = interval(values, confidence);
  return Number.isNaN(low) ? null : [low, high];
}
