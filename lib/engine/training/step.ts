import * as tf from "@tensorflow/tfjs-core";
import { adamW, type AdamWOptions, type AdamWState } from "./adamw.ts";
import { batchLoss } from "./batch_loss.ts";
import type { PaddedBatch } from "../batches.ts";
import { type Classifier, logitsOf } from "../classifier.ts";
import { lossShares, type Matryoshka } from "../ranks/matryoshka.ts";
import {
  decayedValues,
  joinParameters,
  splitParameters,
} from "../parameters.ts";
import type { RankScaling, UpdateMode } from "../ranks/rank_vectors.ts";
import {
  packBatch,
  packOptimizer,
  shardBatch,
  type StepDraw,
  unpackBatch,
  unpackOptimizer,
} from "./step_inputs.ts";
import { eager, trace } from "../trace.ts";

/** What a step is computed with, apart from its data. */
export interface StepOptions {
  readonly alpha: number;
  /** What alpha is divided by, the rank in use if this is not given. */
  readonly scaling?: RankScaling;
  readonly mode: UpdateMode;
  /** Trains several ranks in each step, instead of the one that it draws. */
  readonly matryoshka?: Matryoshka | undefined;
  readonly optimizer: AdamWOptions;
  /** False switches dropout off. */
  readonly dropout: boolean;
  /** Runs operation by operation instead of as a graph: the reference. */
  readonly eager?: boolean;
}

/** A training step as a pure function of tensors: state and batches in, state and loss out. */
export interface TrainingStep {
  /**
   * Takes one optimizer step on the mean loss of all examples of the batches,
   * which are computed one after the other at the same rank.
   *
   * @returns The new state and the loss, a scalar; the caller disposes both.
   */
  (
    state: AdamWState,
    batches: readonly PaddedBatch[],
    draw: StepDraw,
  ): StepResult;
  /** Frees what the step holds. */
  dispose(): void;
}

/** What a step gives. */
export interface StepResult {
  readonly state: AdamWState;
  readonly loss: tf.Scalar;
}

/** Makes the training step of a classifier. */
export function trainingStep(
  classifier: Classifier,
  options: StepOptions,
): TrainingStep {
  const { layout } = classifier;
  const { mode, matryoshka, optimizer } = options;
  const shares = matryoshka && lossShares(matryoshka);
  const decayed = tf.tensor1d(decayedValues(layout));
  const run = (f: (inputs: readonly tf.Tensor[]) => tf.Tensor[]) =>
    options.eager
      ? Object.assign((inputs: readonly tf.Tensor[]) => eager(f, inputs), {
        dispose() {},
      })
      : trace(f);

  const gradientOf = (flat: tf.Tensor1D, packed: readonly tf.Tensor[]) => {
    const batch = unpackBatch(packed);
    const sequences = batch.labels.size;
    const values = splitParameters(flat, layout);
    const shards = shardBatch(batch, layout).map((
      { input, ranks, labels, dropout },
    ) =>
      tf.valueAndGrads((...parts: tf.Tensor[]) => {
        const logits = logitsOf(
          classifier,
          parts,
          input,
          ranks,
          options.dropout ? dropout : undefined,
        );
        const loss = batchLoss(logits, labels, shares);
        return labels.size === sequences
          ? loss
          : tf.mul(loss, labels.size / sequences);
      })(values)
    );
    return {
      loss: sumOf(shards.map(({ value }) => value)),
      gradient: sumOf(shards.map(({ grads }) => joinParameters(grads))),
    };
  };
  const update = (
    state: AdamWState,
    gradient: tf.Tensor1D,
    packed: readonly tf.Tensor[],
  ) =>
    adamW(
      state,
      gradient,
      decayed,
      unpackOptimizer(packed, layout, mode === "frozen-strict"),
      optimizer,
    );

  const whole = run((inputs) => {
    const state = stateOf(inputs);
    const { loss, gradient } = gradientOf(state.values, inputs.slice(5));
    return [...tensorsOf(update(state, gradient, inputs.slice(3, 5))), loss];
  });
  const accumulate = run(([values, sum, loss, weight, ...packed]) => {
    const part = gradientOf(values as tf.Tensor1D, packed);
    return [
      tf.add(sum!, tf.mul(part.gradient, weight!)),
      tf.add(loss!, tf.mul(part.loss, weight!)),
    ];
  });
  const finish = run((inputs) =>
    tensorsOf(
      update(stateOf(inputs), inputs[5] as tf.Tensor1D, inputs.slice(3, 5)),
    )
  );

  function step(
    state: AdamWState,
    batches: readonly PaddedBatch[],
    draw: StepDraw,
  ): StepResult {
    const owned: tf.Tensor[] = [];
    const own = (tensors: tf.Tensor[]) => (owned.push(...tensors), tensors);
    const pack = (batch: PaddedBatch, part: number) =>
      own(packBatch(batch, part, draw, options, layout));
    try {
      const before = [
        ...tensorsOf(state),
        ...own(packOptimizer(draw, mode, layout.rank, optimizer)),
      ];
      if (batches.length === 1) {
        const results = whole([...before, ...pack(batches[0]!, 0)]);
        return { state: stateOf(results), loss: results[3] as tf.Scalar };
      }
      const examples = batches.reduce((sum, { shape }) => sum + shape[0], 0);
      let sums: tf.Tensor[] = [tf.zeros([layout.size]), tf.scalar(0)];
      batches.forEach((batch, part) => {
        const [weight] = own([tf.scalar(batch.shape[0] / examples)]);
        const next = accumulate([
          state.values,
          ...sums,
          weight!,
          ...pack(batch, part),
        ]);
        tf.dispose(sums);
        sums = next;
      });
      const [gradient, loss] = sums;
      own([gradient!]);
      return {
        state: stateOf(finish([...before, gradient!])),
        loss: loss as tf.Scalar,
      };
    } finally {
      tf.dispose(owned);
    }
  }
  return Object.assign(step, {
    dispose() {
      for (const made of [whole, accumulate, finish]) made.dispose();
      decayed.dispose();
    },
  });
}

function sumOf<T extends tf.Tensor>(tensors: T[]): T {
  return tensors.length === 1 ? tensors[0]! : tf.addN(tensors);
}

function tensorsOf({ values, moment1, moment2 }: AdamWState): tf.Tensor[] {
  return [values, moment1, moment2];
}

function stateOf([values, moment1, moment2]: readonly tf.Tensor[]): AdamWState {
  return { values, moment1, moment2 } as AdamWState;
}
