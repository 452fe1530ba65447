import { engineLanes, libraryBinding } from "./backend.ts";
import type { ParameterLayout } from "./parameters.ts";

/** Rows, one for each token at each rank, up to which a part of a shared batch is computed as a whole. */
const MOST_ROWS = 1024;

/** Bytes that such a part may keep for its backward pass. */
const MOST_KEPT = 192 * 2 ** 20;

/** Bytes that a row keeps for it, for each hidden value of each layer: measured with RoBERTa-base at 64 tokens. */
const KEPT_BYTES = { f32: 57, bf16: 34 } as const;

/**
 * How the sequences of a batch are shared out among the threads of the engine:
 * into equal parts, or of one sequence more, as many for each thread. Long
 * batches make several parts for each of two threads or more, so that what is
 * in memory at once stays small; on one, a batch stays whole.
 *
 * The parts decide the order of sums, and so the bits: they depend on nothing
 * but the shapes, the precision and the number of threads.
 *
 * @param rows Tokens of a sequence, times the ranks at which it is computed
 * @param mostRows Rows that a part may have, if it has more than one sequence
 * @returns Sequences of each part
 */
export function shardSizes(
  sequences: number,
  rows: number,
  mostRows = MOST_ROWS,
): number[] {
  const lanes = engineLanes();
  if (lanes === 1) return [sequences];
  const rounds = Math.ceil(sequences * rows / (lanes * mostRows));
  const shards = Math.min(sequences, lanes * rounds);
  return Array.from(
    { length: shards },
    (_, i) =>
      Math.floor((i + 1) * sequences / shards) -
      Math.floor(i * sequences / shards),
  );
}

/**
 * The parts of a batch that is trained on: what they keep for the backward
 * pass is bounded too. Not where all weights are trained, since every part then
 * has gradients of its own as large as the model.
 */
export function trainingShardSizes(
  { layers, hidden, encoder }: ParameterLayout,
  sequences: number,
  rows: number,
): number[] {
  if (encoder.length > 0) return shardSizes(sequences, rows);
  const kept = KEPT_BYTES[libraryBinding()?.precision ?? "f32"];
  const mostRows = Math.floor(MOST_KEPT / (kept * layers * hidden));
  return shardSizes(sequences, rows, Math.min(MOST_ROWS, mostRows));
}
