import * as tf from "@tensorflow/tfjs-core";
import {
  type Classifier,
  joinParameters,
  logitsOf,
  splitParameters,
} from "../models/classifier.ts";
import { dropoutCount } from "../models/outline.ts";
import { decayedValues } from "../models/parameters.ts";
import { type ModelRanks, rankCount } from "../models/pass_weights.ts";
import type { BatchTensors } from "../models/tensor_pass.ts";
import {
  batchLoss,
  type LossName,
  lossNamed,
  unitWeights,
} from "../ops/loss.ts";
import { seededRandom } from "../random.ts";
import type { RankObjective } from "../schedules/schedule.ts";
import { trace, type TraceOptions } from "../trace.ts";
import { adamW, type AdamWOptions, type AdamWState } from "./adamw.ts";
import {
  type Batch,
  batchTensors,
  chunkCount,
  shardSizes,
  splitBatch,
} from "./batch.ts";

/** What the steps of all phases of a training have in common. */
export interface StepSettings extends TraceOptions {
  readonly loss: LossName;
  readonly optimizer: AdamWOptions;
  /** False switches dropout off. */
  readonly dropout: boolean;
  /**
   * Weight of each class, as the loss takes it: of PyTorch's
   * `CrossEntropyLoss(weight=)`, or `BCEWithLogitsLoss(pos_weight=)`; equal by
   * default.
   */
  readonly classWeights?: readonly number[] | undefined;
}

export interface StepOptions extends StepSettings {
  readonly objective: RankObjective;
}

/** Number, ranks and seed of one optimizer step. */
export interface StepDraw {
  /** Number of the step, from 0. */
  readonly step: number;
  /** Steps that the optimizer has taken since it started; `step` by default. */
  readonly optimizerStep?: number;
  /** Rank of all its batches, or of each of their examples. */
  readonly ranks: readonly number[];
  readonly learningRate: number;
  /** Seed of the run's dropout masks. */
  readonly seed: number;
}

/** A training step, a pure function of tensors. */
export interface TrainingStep {
  /**
   * Takes one optimizer step on the mean loss of all units of the batches,
   * weighted by their classes, which are computed one after the other at the
   * same rank.
   *
   * @returns The new state and the loss, a scalar; the caller disposes both.
   */
  (state: AdamWState, batches: readonly Batch[], draw: StepDraw): {
    readonly state: AdamWState;
    readonly loss: tf.Scalar;
  };
  /** Frees the step's tensors and graph functions. */
  dispose(): void;
}

/** Makes the training step of a classifier. */
export function trainingStep(
  classifier: Classifier,
  options: StepOptions,
): TrainingStep {
  const { layout } = classifier;
  const { objective, loss, optimizer, classWeights } = options;
  const dropouts = dropoutCount(classifier);
  const { perExample = false, lossWeights } = objective;
  const seesBatch = lossNamed(loss).seesBatch === true;
  const decayed = tf.tensor1d(decayedValues(layout));

  const gradientOf = (flat: tf.Tensor1D, batch: BatchInputs) => {
    const parameters = splitParameters(flat, layout);
    const names = Object.keys(parameters);
    const shards = shardBatch(batch, perExample, seesBatch).map((shard) => {
      const { labels, weights, scale, gradientMask, keys } = shard;
      return tf.valueAndGrads((...tensors: tf.Tensor[]) => {
        const logits = logitsOf(
          classifier,
          Object.fromEntries(names.map((name, i) => [name, tensors[i]!])),
          {
            ...shard,
            // The ids that labels are, which are the same in float32.
            ...loss === "next-token" && { next: labels.cast("int32") },
          },
          { scale, gradientMask, perExample },
          {
            chunks: chunkCount(...batch.ids.shape),
            ...options.dropout && { keys },
          },
        );
        return batchLoss(
          loss,
          logits,
          labels.reshape([weights.size, -1]),
          lossWeights,
          weights.reshape([-1]),
          classWeights,
        );
      })(Object.values(parameters));
    });
    return {
      loss: sumOf(shards.map(({ value }) => value)),
      gradient: sumOf(shards.map(({ grads }) => joinParameters(grads))),
    };
  };
  const update = ({ state, rates }: UpdateInputs, gradient: tf.Tensor1D) =>
    adamW(state, gradient, decayed, rates, optimizer);

  const stepOnBatch = trace((
    { batch, ...before }: UpdateInputs & { readonly batch: BatchInputs },
  ) => {
    const { loss, gradient } = gradientOf(before.state.values, batch);
    return { state: update(before, gradient), loss };
  }, options);
  const accumulate = trace((
    { values, batch, sums }: {
      readonly values: tf.Tensor1D;
      readonly batch: BatchInputs;
      readonly sums: Sums;
    },
  ): Sums => {
    const part = gradientOf(values, batch);
    return {
      gradient: sums.gradient.add(part.gradient),
      loss: sums.loss.add(part.loss),
    };
  }, options);
  const finish = trace((
    { gradient, ...before }: UpdateInputs & { readonly gradient: tf.Tensor1D },
  ) => ({ state: update(before, gradient) }), options);

  const step = (
    state: AdamWState,
    batches: readonly Batch[],
    draw: StepDraw,
  ) => {
    return tf.tidy(() => {
      const before = { state, rates: ratesOf(draw, optimizer) };
      const weightsOf = ({ labels, width = 1 }: Batch) =>
        unitWeights(options.loss, labels, width, classWeights);
      const total = batches.flatMap((batch) => [...weightsOf(batch)])
        .reduce((sum, weight) => sum + weight, 0);
      let done = 0;
      const inputsOf = (batch: Batch, part: number) => {
        const [sequences, seq] = batch.shape;
        const { sequencesPerExample: each = 1 } = batch;
        const examples = sequences / each;
        const drawn = perExample
          ? draw.ranks.slice(done, done + examples)
            .flatMap((rank) => Array<number>(each).fill(rank))
          : draw.ranks;
        done += examples;
        const byExample = (values: Float32Array) =>
          tf.tensor2d(values, [examples, values.length / examples]);
        const ranks = lossWeights.length;
        const shards = seesBatch ? 1 : shardSizes(examples, each * seq * ranks)
          .length;
        const pieces = shards * chunkCount(sequences, seq);
        return {
          labels: byExample(batch.labels.map((it) => it || 0)),
          scale: tf.tensor2d(
            drawn.flatMap((rank) => [...objective.scale(rank)]),
            [ranks * drawn.length, layout.rank],
          ),
          // Of the ranks of examples, the largest decides which rows are
          // trained.
          gradientMask: tf.tensor1d(
            objective.gradientMask(Math.max(...drawn)),
          ),
          keys: dropoutKeys(draw, part, dropouts * pieces),
          ...batchTensors(batch),
          weights: byExample(
            Float32Array.from(weightsOf(batch), (it) => it / (total || 1)),
          ),
        };
      };
      if (batches.length === 1) {
        return stepOnBatch({ ...before, batch: inputsOf(batches[0]!, 0) });
      }
      const { gradient, loss } = batches.reduce<Sums>((sums, it, part) => {
        const batch = inputsOf(it, part);
        const next = accumulate({ values: state.values, batch, sums });
        tf.dispose(sums);
        return next;
      }, { gradient: tf.zeros([layout.size]), loss: tf.scalar(0) });
      const { state: updated } = finish({ ...before, gradient });
      return { state: updated, loss };
    });
  };
  return Object.assign(step, {
    dispose() {
      for (const made of [stepOnBatch, accumulate, finish]) made.dispose();
      decayed.dispose();
    },
  });
}

function sumOf<T extends tf.Tensor>(tensors: T[]): T {
  return tensors.length === 1 ? tensors[0]! : tf.addN(tensors);
}

/** Sums over the batches of a step. */
type Sums = { readonly gradient: tf.Tensor1D; readonly loss: tf.Scalar };

/** What an update takes beside the gradient. */
interface UpdateInputs {
  readonly state: AdamWState;
  /** Learning rate and bias corrections, as {@linkcode adamW} takes them. */
  readonly rates: tf.Tensor1D;
}

/** A batch's tensors, and the vectors of the step's rank. */
interface BatchInputs
  extends BatchTensors, Pick<ModelRanks, "scale" | "gradientMask"> {
  /**
   * Targets of each example, or of each of its tokens, `[examples, width]` or
   * `[examples, seq * width]`
   */
  readonly labels: tf.Tensor2D;
  /**
   * Weights of their losses, `[examples, 1 or seq]`; those of a step's batches
   * add up to 1.
   */
  readonly weights: tf.Tensor2D;
  /**
   * Keys of its dropout masks, int32 `[dropouts, 2]` for each chunk of its
   * shards, one after the other.
   */
  readonly keys: tf.Tensor2D;
}

function dropoutKeys(
  { seed, step }: StepDraw,
  part: number,
  count: number,
): tf.Tensor2D {
  const random = seededRandom(seed, `dropout/${step}/${part}`);
  const keys = Int32Array.from(
    { length: count * 2 },
    () => random.next() * 2 ** 32,
  );
  return tf.tensor2d(keys, [count, 2], "int32");
}

/**
 * Splits a batch into shards for the engine's threads, unless the loss must see
 * it whole.
 */
function shardBatch(
  batch: BatchInputs,
  perExample: boolean,
  seesBatch: boolean,
): BatchInputs[] {
  const { keys, scale, gradientMask } = batch;
  const [sequences, seq] = batch.ids.shape;
  const examples = batch.weights.shape[0];
  const rows = seq * sequences / examples * rankCount({ scale, perExample });
  const sizes = seesBatch ? [examples] : shardSizes(examples, rows);
  if (sizes.length === 1) return [batch];
  const keysOf = keys.split<tf.Tensor2D>(sizes.length);
  const shards = splitBatch({
    ids: batch.ids,
    positions: batch.positions,
    types: batch.types,
    mask: batch.mask,
    labels: batch.labels,
    weights: batch.weights,
    ...(perExample && { scale }),
  }, sizes);
  return shards.map((shard, i) => ({
    scale,
    gradientMask,
    keys: keysOf[i]!,
    ...shard,
  }));
}

function ratesOf(
  { step, optimizerStep = step, learningRate }: StepDraw,
  { beta1, beta2 }: AdamWOptions,
): tf.Tensor1D {
  const steps = optimizerStep + 1;
  return tf.tensor1d([learningRate, 1 - beta1 ** steps, 1 - beta2 ** steps]);
}
