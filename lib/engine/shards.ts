import { engineLanes } from "./backend.ts";

/** Rows, one for each token at each rank, up to which a part of a shared batch is computed as a whole. */
const MOST_ROWS = 1024;

/**
 * How the sequences of a batch are shared out among the threads of the engine:
 * into equal parts, or of one sequence more, as many for each thread. Long
 * batches make several parts for each of two threads or more, so that what a
 * part keeps for its backward pass stays small; on one, a batch stays whole.
 *
 * The parts decide the order of sums, and so the bits: they depend on nothing
 * but the shape and the number of threads.
 *
 * @param rows Tokens of a sequence, times the ranks at which it is computed
 * @returns Sequences of each part
 */
export function shardSizes(sequences: number, rows: number): number[] {
  const lanes = engineLanes();
  if (lanes === 1) return [sequences];
  const rounds = Math.ceil(sequences * rows / (lanes * MOST_ROWS));
  const shards = Math.min(sequences, lanes * rounds);
  return Array.from(
    { length: shards },
    (_, i) =>
      Math.floor((i + 1) * sequences / shards) -
      Math.floor(i * sequences / shards),
  );
}
