import * as tf from "@tensorflow/tfjs-core";
import { type EncodedExamples, unitsOf } from "../../data/example.ts";
import { engineLanes, enginePrecision } from "../backend.ts";
import type { Classifier } from "../models/classifier.ts";
import { type PositionedModel, positionsOf } from "../models/model.ts";
import type { BatchTensors } from "../models/tensor_pass.ts";
import { evenSizes } from "../ops/blocks.ts";
import { engineOps } from "../ops/engine_ops.ts";
import { type Random, shuffle } from "../random.ts";
import type { Named } from "../trace.ts";

/**
 * The sequences of some examples padded to one length, in memory; all arrays
 * `[sequences, seq]` unless said otherwise. Training and evaluation convert it
 * to tensors with {@linkcode batchTensors}.
 */
export interface Batch {
  readonly shape: [sequences: number, seq: number];
  /** Sequences of each example, which follow each other; 1 by default. */
  readonly sequencesPerExample?: number;
  readonly ids: Int32Array;
  /** Rows of the model's position table. */
  readonly positions: Int32Array;
  readonly types: Int32Array;
  /** 1 for tokens and 0 for padding; undefined where nothing is padded. */
  readonly mask: Float32Array | undefined;
  /**
   * Targets, `[examples, width]`; zeros where the examples have none, as in a
   * test set. Of words, `[examples, seq, width]`, with NaN for other tokens.
   */
  readonly labels: Float32Array;
  /** Numbers in a row of targets; 1 by default. */
  readonly width?: number;
  /** Tokens without padding. */
  readonly tokens: number;
}

/** Number of batches per length-bucketing window. */
const WINDOW = 50;

/**
 * The batches of one epoch, as lists of example numbers: shuffled, and
 * bucketed by length so that little is padded.
 *
 * @param padded True if all batches are padded to one length, so that they need
 * not be bucketed
 */
export function epochBatches(
  examples: EncodedExamples,
  batchSize: number,
  random: Random,
  padded = false,
): number[][] {
  const order = [...examples.index.keys()];
  shuffle(order, random);
  if (padded) return cutBatches(order, batchSize);
  const batches = cutBatches(order, batchSize * WINDOW)
    .flatMap((window) => batchesByLength(examples, window, batchSize));
  shuffle(batches, random);
  return batches;
}

/**
 * Batches of these examples, longest first; examples of equal length stay in
 * order.
 */
export function batchesByLength(
  examples: EncodedExamples,
  order: readonly number[],
  batchSize: number,
): number[][] {
  const sorted = [...order].sort((a, b) =>
    longestSequence(examples, b) - longestSequence(examples, a)
  );
  return cutBatches(sorted, batchSize);
}

function cutBatches(order: readonly number[], batchSize: number): number[][] {
  return Array.from(
    { length: Math.ceil(order.length / batchSize) },
    (_, i) => order.slice(i * batchSize, (i + 1) * batchSize),
  );
}

/**
 * Pads examples to a length, by default that of the longest.
 *
 * @param whole The batch that they are a part of: if any of it is padded, all
 * parts have a mask, and so one trace
 */
export function padBatch(
  examples: EncodedExamples,
  indices: readonly number[],
  model: PositionedModel,
  seq = longestOf(examples, indices),
  whole = indices,
): Batch {
  const { sequencesPerExample = 1, width = 1 } = examples;
  const sequences = indices.length * sequencesPerExample;
  const ids = new Int32Array(sequences * seq).fill(model.padId);
  const types = new Int32Array(sequences * seq);
  const mask = new Float32Array(sequences * seq);
  const unitsPerExample = examples.words === undefined ? 1 : seq;
  const labels = new Float32Array(indices.length * unitsPerExample * width)
    .fill(NaN);
  let tokens = 0;
  indices.forEach((example, i) => {
    for (let k = 0; k < sequencesPerExample; k++) {
      const start = examples.offsets[example * sequencesPerExample + k]!;
      const end = examples.offsets[example * sequencesPerExample + k + 1]!;
      const row = (i * sequencesPerExample + k) * seq;
      ids.set(examples.ids.subarray(start, end), row);
      types.set(examples.types.subarray(start, end), row);
      mask.fill(1, row, row + end - start);
      tokens += end - start;
    }
    for (const { unit, token } of unitsOf(examples, example)) {
      const row = (i * unitsPerExample + token) * width;
      for (let k = 0; k < width; k++) {
        labels[row + k] = examples.labels?.[unit * width + k] ?? 0;
      }
    }
  });
  return {
    shape: [sequences, seq],
    sequencesPerExample,
    ids,
    positions: positionsOf(model, ids, seq),
    types,
    mask: whole.every((i) => areAllOfLength(examples, i, seq))
      ? undefined
      : mask,
    labels,
    width,
    tokens,
  };
}

/**
 * Names the lengths for whose batches the library compiles functions next:
 * `compiling length 32`. Undefined if all shapes are compiled already, or the
 * engine compiles nothing.
 *
 * @param seen Shapes so far; those of the batches are added
 */
export function compilingNote(
  batches: readonly Batch[],
  seen: Set<string>,
): string | undefined {
  if (!engineOps().compiles) return undefined;
  const fresh = batches.filter(({ shape }) => !seen.has(shape.join()));
  if (fresh.length === 0) return undefined;
  for (const { shape } of fresh) seen.add(shape.join());
  const lengths = new Set(fresh.map(({ shape }) => shape[1]));
  return `compiling length ${[...lengths].join(", ")}`;
}

/** Tensors of a batch; the caller disposes them. */
export function batchTensors(
  batch: Omit<Batch, "labels" | "tokens">,
): BatchTensors {
  return {
    ids: tf.tensor2d(batch.ids, batch.shape, "int32"),
    positions: tf.tensor2d(batch.positions, batch.shape, "int32"),
    types: tf.tensor2d(batch.types, batch.shape, "int32"),
    mask: batch.mask && tf.tensor2d(batch.mask, batch.shape),
  };
}

/**
 * Splits tensors of a batch along its examples.
 *
 * @param tensors `[examples * n, ...]`, each with an n of its own
 * @param sizes Examples of each part
 */
export function splitBatch<Tensors extends Named>(
  tensors: Tensors,
  sizes: readonly number[],
): Tensors[] {
  const examples = sizes.reduce((sum, size) => sum + size, 0);
  const parts = Object.entries(tensors).map(([name, tensor]) => {
    const rows = (tensor?.shape[0] ?? 0) / examples;
    return [name, tensor?.split(sizes.map((size) => size * rows))] as const;
  });
  return sizes.map((_, i) =>
    Object.fromEntries(parts.map(([name, part]) => [name, part?.[i]]))
  ) as Tensors[];
}

function longestOf(
  examples: Pick<EncodedExamples, "offsets" | "sequencesPerExample">,
  indices: readonly number[],
): number {
  // A text may have no tokens.
  return Math.max(1, ...indices.map((i) => longestSequence(examples, i)));
}

/** Tokens of the longest sequence of an example. */
function longestSequence(
  { offsets, sequencesPerExample = 1 }: Pick<
    EncodedExamples,
    "offsets" | "sequencesPerExample"
  >,
  example: number,
): number {
  let longest = 0;
  for (
    let s = example * sequencesPerExample;
    s < (example + 1) * sequencesPerExample;
    s++
  ) {
    longest = Math.max(longest, offsets[s + 1]! - offsets[s]!);
  }
  return longest;
}

function areAllOfLength(
  { offsets, sequencesPerExample = 1 }: EncodedExamples,
  example: number,
  length: number,
): boolean {
  const first = example * sequencesPerExample;
  return offsets.subarray(first, first + sequencesPerExample)
    .every((start, k) => offsets[first + k + 1]! - start === length);
}

/**
 * Extra cost of the first pass of a layer at a length, for tracing and for
 * loading what was compiled, in floating-point operations: half a second at 200
 * GFLOPS for the six layers of MiniLM, as measured. A constant, so that results
 * do not depend on the machine's speed.
 */
const NEW_LENGTH_COST = 1e11 / 6;

/**
 * Chooses the lengths to which batches are padded. A length is left out if
 * preparing it would take longer than computing the padding that it saves.
 *
 * @param batches All batches of a pass over the examples, as lists of example
 * numbers
 * @param passes Number of such passes
 * @param flops Floating-point operations of a layer for a batch, `[batch, seq]`
 * @returns The length for any batch whose longest example is no longer than
 * those of `batches`
 */
export function paddedLengths(
  examples: EncodedExamples,
  batches: readonly (readonly number[])[],
  passes: number,
  flops: (shape: readonly [number, number]) => number,
): (indices: readonly number[]) => number {
  const sizes = Map.groupBy(
    batches,
    (indices) => longestOf(examples, indices),
  );
  const uses = [...sizes].sort(([a], [b]) => a - b).map((
    [length, batches],
  ) => ({
    length,
    sequences: passes * (examples.sequencesPerExample ?? 1) *
      batches.reduce((sum, { length }) => sum + length, 0),
  }));
  const chosen = cheapestLengths(uses, (length) => flops([1, length]));
  return (indices) => {
    const needed = longestOf(examples, indices);
    return chosen.find((length) => length >= needed)!;
  };
}

/**
 * The cheapest set of lengths. A set costs a first pass for each of its
 * lengths, and for every sequence a pass at the smallest length that it fits.
 * Computed by dynamic programming over the lengths in ascending order.
 *
 * @param uses Number of sequences whose batch needs a length, by ascending
 * length
 */
function cheapestLengths(
  uses: readonly { readonly length: number; readonly sequences: number }[],
  flops: (length: number) => number,
): number[] {
  let plans: { readonly cost: number; readonly lengths: readonly number[] }[] =
    [{ cost: 0, lengths: [] }];
  uses.forEach(({ length }, last) => {
    let best = { cost: Infinity, lengths: [] as readonly number[] };
    let sequences = 0;
    for (let first = last; first >= 0; first--) {
      sequences += uses[first]!.sequences;
      const before = plans[first]!;
      const cost = before.cost + NEW_LENGTH_COST + sequences * flops(length);
      if (cost < best.cost) {
        best = { cost, lengths: [...before.lengths, length] };
      }
    }
    plans = [...plans, best];
  });
  return [...plans.at(-1)!.lengths];
}

/** Maximum rows (tokens x ranks) per shard. */
const SHARD_ROWS = 1024;

/**
 * Splits the examples of a batch into shards for the engine's threads: the
 * same number for each thread, with sizes that differ by at most one example.
 * Long batches make several shards per thread, so that memory stays bounded; on
 * one thread a batch stays whole.
 *
 * The shards decide the order of sums, and so the bits: they depend on nothing
 * but the shapes and the number of threads.
 *
 * @param rows Tokens of the sequences of an example, times the ranks at which
 * they are computed
 * @returns Examples of each shard
 */
export function shardSizes(examples: number, rows: number): number[] {
  const lanes = engineLanes();
  if (lanes === 1) return [examples];
  const rounds = Math.ceil(examples * rows / (lanes * SHARD_ROWS));
  return evenSizes(examples, Math.min(examples, lanes * rounds));
}

/** Minimum tokens per chunk; below, a thread of its own does not pay. */
const CHUNK_TOKENS = 128;

/**
 * Chunks into which the tokens of each sequence are split, so that every thread
 * has one where a batch has fewer sequences than there are threads.
 */
export function chunkCount(sequences: number, tokens: number): number {
  const wanted = Math.ceil(engineLanes() / sequences);
  return Math.max(1, Math.min(wanted, Math.floor(tokens / CHUNK_TOKENS)));
}

/**
 * Bytes of a part that a thread stores for the backward pass; twice as many on
 * one thread.
 */
const PART_BYTES = 256 * 2 ** 20;

/**
 * Bytes per row, hidden value and layer that are stored for the backward pass,
 * measured with RoBERTa-base at 64 tokens.
 */
const ROW_BYTES = { f32: 57, bf16: 34 } as const;

/**
 * Pads the examples of a batch in 1, 2, 4 ... parts, which are computed one
 * after the other, so that what is stored for the backward pass is bounded. If
 * all weights are trained, each would have gradients as large as the model:
 * then a batch stays whole. So it does for a loss that must see it.
 *
 * @param rankCount Number of ranks at which each sequence is computed
 * @param padLengthOf Length to which a batch is padded
 * @param seesBatch Whether the loss must see the whole batch
 */
export function padParts(
  { model, weights }: Pick<Classifier, "model" | "weights">,
  examples: EncodedExamples,
  indices: readonly number[],
  rankCount: number,
  padLengthOf = (indices: readonly number[]) => longestOf(examples, indices),
  seesBatch = false,
): Batch[] {
  const seq = padLengthOf(indices);
  const rowBytes = ROW_BYTES[enginePrecision()] *
    model.layers * model.hidden;
  const sequencesPerExample = examples.sequencesPerExample ?? 1;
  const most = seesBatch || weights === undefined
    ? indices.length
    : Math.max(2, engineLanes()) * PART_BYTES /
      (rowBytes * seq * rankCount * sequencesPerExample);
  // Powers of two, so that most batches have parts of one shape, and one trace.
  const parts = 2 ** Math.ceil(Math.log2(Math.max(1, indices.length / most)));
  return cutBatches(indices, Math.ceil(indices.length / parts))
    .map((part) => padBatch(examples, part, model, seq, indices));
}
