import * as tf from "@tensorflow/tfjs-core";
import type { EncoderConfig } from "./config.ts";
import type { EncoderInput } from "./encoder.ts";
import { type Random, shuffle } from "./random.ts";

/** Tokenized examples, one after the other, not padded. */
export interface Examples {
  /** Token ids of all examples. */
  readonly ids: Int32Array;
  /** Token types of all examples. */
  readonly types: Uint8Array;
  /** Example i is `ids[offsets[i]..offsets[i + 1])`. */
  readonly offsets: Int32Array;
  /** Class numbers or scores, one for each example. */
  readonly labels: Float32Array;
}

/** Number of examples. */
export function exampleCount({ offsets }: Examples): number {
  return offsets.length - 1;
}

/** Sequences of a batch are padded to a multiple of this, so that few lengths are traced. */
const lengthStep = 8;

/** Batches whose lengths are alike are formed within so many batches' worth of shuffled examples. */
const groupedBatches = 50;

/**
 * The batches of one epoch, as lists of example numbers: shuffled, and
 * grouped by similar length so that little is padded.
 *
 * @param padded True if all batches are padded to one length: then they are
 * formed at random
 */
export function epochBatches(
  examples: Examples,
  batchSize: number,
  random: Random,
  padded = false,
): number[][] {
  const order = Array.from({ length: exampleCount(examples) }, (_, i) => i);
  shuffle(order, random);
  if (padded) return cutBatches(order, batchSize);
  const batches: number[][] = [];
  for (
    let start = 0;
    start < order.length;
    start += batchSize * groupedBatches
  ) {
    const group = order.slice(start, start + batchSize * groupedBatches);
    batches.push(...batchesByLength(examples, group, batchSize));
  }
  shuffle(batches, random);
  return batches;
}

/** Batches of these examples, longest first; equal lengths keep their order. */
export function batchesByLength(
  examples: Examples,
  order: readonly number[],
  batchSize: number,
): number[][] {
  const sorted = [...order].sort((a, b) =>
    lengthOf(examples, b) - lengthOf(examples, a)
  );
  return cutBatches(sorted, batchSize);
}

function cutBatches(order: readonly number[], batchSize: number): number[][] {
  const batches: number[][] = [];
  for (let start = 0; start < order.length; start += batchSize) {
    batches.push(order.slice(start, start + batchSize));
  }
  return batches;
}

/** A padded batch in memory, all `[batch, seq]`. */
export interface PaddedBatch {
  readonly shape: [number, number];
  readonly ids: Int32Array;
  readonly positions: Int32Array;
  readonly types: Int32Array;
  /** Undefined where nothing is padded. */
  readonly mask: Float32Array | undefined;
  /** `[batch]` */
  readonly labels: Float32Array;
  /** Tokens without padding. */
  readonly tokens: number;
}

/**
 * Pads a batch to a length, by default that of its longest example, rounded up
 * to a multiple of 8.
 *
 * Positions are counted as transformers counts them: from 0 in BERT; in
 * RoBERTa from `padId + 1`, and `padId` for every padding token.
 */
export function padBatch(
  examples: Examples,
  indices: readonly number[],
  config: EncoderConfig,
  seq = paddedLength(examples, indices),
): PaddedBatch {
  const batch = indices.length;
  const ids = new Int32Array(batch * seq).fill(config.padId);
  const types = new Int32Array(batch * seq);
  const mask = new Float32Array(batch * seq);
  const labels = new Float32Array(batch);
  let tokens = 0;
  indices.forEach((example, row) => {
    const start = examples.offsets[example]!;
    const end = examples.offsets[example + 1]!;
    ids.set(examples.ids.subarray(start, end), row * seq);
    types.set(examples.types.subarray(start, end), row * seq);
    mask.fill(1, row * seq, row * seq + end - start);
    labels[row] = examples.labels[example]!;
    tokens += end - start;
  });
  return {
    shape: [batch, seq],
    ids,
    positions: positionIds(ids, batch, seq, config),
    types,
    mask: tokens === batch * seq ? undefined : mask,
    labels,
    tokens,
  };
}

/** Length to which a batch of these examples is padded. */
export function paddedLength(
  examples: Examples,
  indices: readonly number[],
): number {
  const longest = Math.max(...indices.map((i) => lengthOf(examples, i)));
  return Math.ceil(longest / lengthStep) * lengthStep;
}

/** Rows of the position table for padded token ids, `[batch, seq]`. */
export function positionIds(
  ids: Int32Array,
  batch: number,
  seq: number,
  { architecture, padId, positions }: EncoderConfig,
): Int32Array<ArrayBuffer> {
  const result = new Int32Array(batch * seq);
  for (let row = 0; row < batch; row++) {
    let next = architecture === "roberta" ? padId + 1 : 0;
    for (let i = row * seq; i < (row + 1) * seq; i++) {
      const padded = architecture === "roberta" && ids[i] === padId;
      // Padding beyond the table is masked: any row serves.
      result[i] = padded ? padId : Math.min(next++, positions - 1);
    }
  }
  return result;
}

/** The batch as tensors; the caller disposes them. */
export function batchTensors(batch: PaddedBatch): EncoderInput {
  return {
    ids: tf.tensor2d(batch.ids, batch.shape, "int32"),
    positions: tf.tensor2d(batch.positions, batch.shape, "int32"),
    types: tf.tensor2d(batch.types, batch.shape, "int32"),
    mask: batch.mask && tf.tensor2d(batch.mask, batch.shape),
  };
}

function lengthOf({ offsets }: Examples, example: number): number {
  return offsets[example + 1]! - offsets[example]!;
}
