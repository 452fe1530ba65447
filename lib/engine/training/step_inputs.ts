import * as tf from "@tensorflow/tfjs-core";
import type { AdamWOptions, AdamWStep } from "./adamw.ts";
import { batchTensors, type PaddedBatch } from "../batches.ts";
import { dropoutSites } from "../classifier.ts";
import type { EncoderInput } from "../encoder.ts";
import {
  type Matryoshka,
  matryoshkaGroups,
  matryoshkaScale,
} from "../ranks/matryoshka.ts";
import { groupsOf, type ModelRanks } from "../ranks/module_ranks.ts";
import type { ParameterLayout } from "../parameters.ts";
import { seededRandom } from "../random.ts";
import {
  rankScale,
  type RankScaling,
  trainedRows,
  type UpdateMode,
} from "../ranks/rank_vectors.ts";
import { trainingShardSizes } from "../shards.ts";

/** What one optimizer step draws. */
export interface StepDraw {
  /** Number of the step, from 0. */
  readonly step: number;
  /** Rank of all its batches: one for the whole model, or one for each module. */
  readonly rank: number | readonly number[];
  readonly learningRate: number;
  /** Seed of the run's dropout masks. */
  readonly seed: number;
  /** Steps that have trained each row so far, this one included: `[rank]`, or `[modules, rank]` flat. Used by `frozen-strict`. */
  readonly rowSteps: readonly number[];
}

/** The part of a step's inputs that belongs to one batch. */
export interface BatchInputs {
  readonly labels: tf.Tensor1D;
  readonly ranks: ModelRanks;
  /** Keys of its dropout masks, int32 `[sites, 2]` for each of its shards, one after the other. */
  readonly dropout: tf.Tensor2D;
  readonly input: EncoderInput;
}

/** What the ranks of a step mean for its adapters. */
export interface RankOptions {
  readonly alpha: number;
  readonly scaling?: RankScaling;
  readonly mode: UpdateMode;
  /** The ranks that every step trains, where it is not the one drawn. */
  readonly matryoshka?: Matryoshka | undefined;
}

/** The batch's tensors, in the order in which a traced function takes them. */
export function packBatch(
  batch: PaddedBatch,
  part: number,
  draw: StepDraw,
  { alpha, scaling, mode, matryoshka }: RankOptions,
  layout: ParameterLayout,
): tf.Tensor[] {
  const { rank: maxRank, layers } = layout;
  const { ids, positions, types, mask } = batchTensors(batch);
  const [sequences, seq] = batch.shape;
  const groups = matryoshka === undefined ? 1 : matryoshkaGroups(matryoshka);
  const shards = trainingShardSizes(layout, sequences, seq * groups).length;
  return [
    tf.tensor1d(batch.labels),
    matryoshka === undefined
      ? rankTensor(
        draw.rank,
        (rank) => rankScale(rank, alpha, maxRank, scaling),
        [1, maxRank],
      )
      : tf.tensor2d(matryoshkaScale(matryoshka, alpha, maxRank), [
        groups,
        maxRank,
      ]),
    rankTensor(draw.rank, (rank) => trainedRows(rank, mode, maxRank), [
      maxRank,
    ]),
    dropoutKeys(draw, part, layers, shards),
    ids,
    positions,
    types,
    ...(mask === undefined ? [] : [mask]),
  ];
}

/** A vector for the rank of the whole model, or one for that of each module. */
function rankTensor(
  rank: StepDraw["rank"],
  vector: (rank: number) => Float32Array,
  shape: readonly number[],
): tf.Tensor {
  return typeof rank === "number"
    ? tf.tensor(vector(rank), [...shape])
    : tf.tensor(rowsOfAll(rank, vector), [rank.length, ...shape]);
}

/** The vectors of all modules, flat. */
function rowsOfAll(
  rank: StepDraw["rank"],
  vector: (rank: number) => Float32Array,
): number[] {
  return [rank].flat().flatMap((rank) => [...vector(rank)]);
}

/** Keys of the dropout masks of a step's batch, for each shard its own. */
function dropoutKeys(
  { seed, step }: StepDraw,
  part: number,
  layers: number,
  shards: number,
): tf.Tensor2D {
  const random = seededRandom(seed, `dropout/${step}/${part}`);
  const sites = dropoutSites(layers) * shards;
  const keys = Int32Array.from(
    { length: sites * 2 },
    () => random.next() * 2 ** 32,
  );
  return tf.tensor2d(keys, [sites, 2], "int32");
}

/** Names what {@linkcode packBatch} packed. */
export function unpackBatch(tensors: readonly tf.Tensor[]): BatchInputs {
  const [labels, scale, trained, dropout, ids, positions, types, mask] =
    tensors;
  return {
    labels: labels as tf.Tensor1D,
    ranks: { scale, trained } as ModelRanks,
    dropout: dropout as tf.Tensor2D,
    input: {
      ids: ids as tf.Tensor2D,
      positions: positions as tf.Tensor2D,
      types: types as tf.Tensor2D,
      mask: mask as tf.Tensor2D | undefined,
    },
  };
}

/** Shares a batch out among the threads of the engine. */
export function shardBatch(
  { labels, ranks, dropout, input }: BatchInputs,
  layout: ParameterLayout,
): BatchInputs[] {
  const { ids, positions, types, mask } = input;
  const [sequences, seq] = ids.shape;
  const sizes = trainingShardSizes(layout, sequences, seq * groupsOf(ranks));
  if (sizes.length === 1) return [{ labels, ranks, dropout, input }];
  const rows = <T extends tf.Tensor>(tensor: T) =>
    tf.split(tensor, sizes) as T[];
  const parts = {
    labels: rows(labels),
    dropout: tf.split(dropout, sizes.length) as tf.Tensor2D[],
    ids: rows(ids),
    positions: rows(positions),
    types: rows(types),
    mask: mask && rows(mask),
  };
  return sizes.map((_, i) => ({
    labels: parts.labels[i]!,
    ranks,
    dropout: parts.dropout[i]!,
    input: {
      ids: parts.ids[i]!,
      positions: parts.positions[i]!,
      types: parts.types[i]!,
      mask: parts.mask?.[i],
    },
  }));
}

/**
 * The optimizer's tensors: learning rate and bias corrections `[3]`, and for
 * each row whether it is updated and its own bias corrections: `[3, rank]`, or
 * `[3, modules * rank]`.
 */
export function packOptimizer(
  draw: StepDraw,
  mode: UpdateMode,
  maxRank: number,
  { beta1, beta2 }: AdamWOptions,
): tf.Tensor[] {
  const steps = draw.step + 1;
  const rowSteps = draw.rowSteps.map((count) => Math.max(1, count));
  return [
    tf.tensor1d([draw.learningRate, 1 - beta1 ** steps, 1 - beta2 ** steps]),
    tf.tensor2d(
      [
        rowsOfAll(draw.rank, (rank) => trainedRows(rank, mode, maxRank)),
        rowSteps.map((count) => 1 - beta1 ** count),
        rowSteps.map((count) => 1 - beta2 ** count),
      ],
      [3, rowSteps.length],
    ),
  ];
}

/**
 * Names what {@linkcode packOptimizer} packed, for every value of the flat
 * vector: in `frozen-strict` a row counts its own steps and rests in those
 * that do not train it; else all values share one count.
 */
export function unpackOptimizer(
  [hyper, rows]: readonly tf.Tensor[],
  layout: ParameterLayout,
  strict: boolean,
): AdamWStep {
  const [learningRate, correction1, correction2] = tf.unstack(
    hyper!,
  ) as tf.Tensor[];
  if (!strict) {
    return {
      learningRate: learningRate!,
      correction1: correction1!,
      correction2: correction2!,
      updated: undefined,
    };
  }
  const [updated, row1, row2] = tf.unstack(rows!) as tf.Tensor1D[];
  // A module's A and B follow each other, so that each takes the same rows.
  const sets = rows!.shape[1]! / layout.rank;
  const spread = (row: tf.Tensor1D, head: tf.Tensor): tf.Tensor1D =>
    tf.concat([
      tf.reshape(
        tf.tile(tf.reshape(row, [sets, 1, layout.rank, 1]), [
          1,
          layout.layers * 4 / sets,
          1,
          layout.hidden,
        ]),
        [layout.adapterSize],
      ) as tf.Tensor1D,
      tf.tile(tf.reshape(head, [1]) as tf.Tensor1D, [
        layout.size - layout.adapterSize,
      ]),
    ]);
  return {
    learningRate: learningRate!,
    correction1: spread(row1!, correction1!),
    correction2: spread(row2!, correction2!),
    updated: spread(updated!, tf.scalar(1)),
  };
}
