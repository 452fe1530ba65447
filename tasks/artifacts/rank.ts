/**
 * Makes sure that an adapter has the rank asked for.
 *
 * @param largest The adapter's own rank
 * @param module Where the rank is asked for, if not everywhere
 * @throws {RangeError} If it is beyond that.
 */
export function checkRank(
  rank: number,
  largest: number,
  module?: string,
): void {
  if (rank <= largest) return;
  const of = module === undefined ? "" : ` of "${module}"`;
  throw new RangeError(
    `Rank ${rank}${of} is beyond the adapter's rank ${largest}`,
  );
}
