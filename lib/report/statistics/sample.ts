/** Arithmetic mean; NaN of nothing. */
export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / values.length;
}

/** Standard deviation of a sample (divided by n - 1); NaN of fewer than two values. */
export function deviation(values: ArrayLike<number>): number {
  const centre = mean(values);
  let squares = 0;
  for (let i = 0; i < values.length; i++) squares += (values[i]! - centre) ** 2;
  return Math.sqrt(squares / (values.length - 1));
}

/**
 * Quantile, interpolated between the neighbours in order (Hyndman and Fan's
 * type 7, NumPy's default); NaN if a value is.
 *
 * @param share Between 0 and 1: 0.5 is the median.
 */
export function quantile(values: ArrayLike<number>, share: number): number {
  const sorted = Float64Array.from(values).sort();
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const low = sorted[below] ?? NaN;
  const high = sorted[below + 1] ?? low;
  // NaN sorts last, so one that is anywhere is here.
  return Number.isNaN(sorted.at(-1))
    ? NaN
    : low + (high - low) * (place - below);
}

/** The middle share of a sample: `[low, high]`. */
export function interval(
  values: ArrayLike<number>,
  confidence: number,
): [number, number] {
  const tail = (1 - confidence) / 2;
  return [quantile(values, tail), quantile(values, 1 - tail)];
}
