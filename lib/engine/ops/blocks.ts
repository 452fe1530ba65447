/** How attention is cut into blocks; nothing here computes. */

/**
 * Which keys a query attends to: those at most so many tokens before or after
 * its own.
 */
export interface Reach {
  readonly before: number;
  readonly after: number;
}

/**
 * @param window Tokens on either side, or if it is causal before its own; all
 * of them by default
 */
export function reachOf(causal = false, window = Infinity): Reach {
  return { before: window, after: causal ? 0 : window };
}

/**
 * The keys to which neighbouring queries attend.
 *
 * @param start Position of the first query among the keys
 */
export function keysInReach(
  { before, after }: Reach,
  start: number,
  queries: number,
  seq: number,
): [from: number, count: number] {
  const from = Math.max(0, start - before);
  return [from, Math.min(seq, start + queries + after) - from];
}

/**
 * Pairs of a query and a key that attention computes: queries are halved until
 * they are no more than the keys around them.
 */
export function scoreCount(
  reach: Reach,
  queries: number,
  seq: number,
  start = 0,
): number {
  if (queries <= Math.max(1, reach.before + reach.after)) {
    return queries * keysInReach(reach, start, queries, seq)[1];
  }
  const [first, second] = evenSizes(queries, 2) as [number, number];
  return scoreCount(reach, first, seq, start) +
    scoreCount(reach, second, seq, start + first);
}

/** Sizes that differ by at most one. */
export function evenSizes(total: number, count: number): number[] {
  return Array.from(
    { length: count },
    (_, i) =>
      Math.floor((i + 1) * total / count) - Math.floor(i * total / count),
  );
}
