import * as tf from "@tensorflow/tfjs-core";
import type { AdamWState } from "../../lib/engine/training/adamw.ts";
import type { PaddedBatch } from "../../lib/engine/batches.ts";
import type { StepDraw } from "../../lib/engine/training/step_inputs.ts";
import { fixture, type Reference, referenceBatch } from "./reference.ts";

/** Settings of fixtures/references.py. */
export const settings = JSON.parse(
  Deno.readTextFileSync(fixture("references/training.json")),
);
/** AdamW as PyTorch ran it for the references. */
export const optimizer = {
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: settings.weight_decay,
  clipNorm: settings.clip,
};

/** Rows of the padded batch, with their two labels. */
export function batchRows(
  reference: Reference,
  from: number,
  to: number,
): PaddedBatch {
  const { shape: [, seq], ids, positions, types, mask } = referenceBatch(
    reference,
    "padded",
  );
  const rows = <T extends Int32Array | Float32Array>(values: T) =>
    values.slice(from * seq, to * seq) as T;
  return {
    shape: [to - from, seq],
    ids: rows(ids),
    positions: rows(positions),
    types: rows(types),
    mask: rows(mask!),
    labels: Float32Array.from(reference.figures.ints("labels2")).slice(
      from,
      to,
    ),
    tokens: (to - from) * seq,
  };
}

/** The optimizer's state before the first step. */
export function startState(values: Float32Array): AdamWState {
  const zeros = () => tf.zeros([values.length]) as tf.Tensor1D;
  return { values: tf.tensor1d(values), moment1: zeros(), moment2: zeros() };
}

/** What a step draws, of a training in which every step trained every row. */
export function draw(
  step: number,
  rank: number,
  learningRate: number,
  maxRank = 8,
): StepDraw {
  return {
    step,
    rank,
    learningRate,
    seed: 7,
    rowSteps: Array<number>(maxRank).fill(step + 1),
  };
}
