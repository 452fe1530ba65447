import * as tf from "@tensorflow/tfjs-core";
import {
  type Classifier,
  loadClassifier,
} from "../../lib/engine/models/classifier.ts";
import { fromTensors } from "../../lib/engine/models/parameters.ts";
import type { AdamWState } from "../../lib/engine/training/adamw.ts";
import type { Batch } from "../../lib/engine/training/batch.ts";
import {
  type StepDraw,
  type StepOptions,
  trainingStep,
} from "../../lib/engine/training/step.ts";
import { batchLoss } from "../../lib/engine/ops/loss.ts";
import { fixture, read, type Reference, referenceBatch } from "./reference.ts";

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

/** A reference with its adapter, or with another of its figures. */
export function referenceAdapter(
  { model, file, figures }: Reference,
  prefix = "adapter",
): { classifier: Classifier; values: Float32Array } {
  const { rank } = settings;
  const classifier = loadClassifier(file, model, 2, { rank });
  const values = fromTensors(
    (name) =>
      figures.floats(
        // Factors of a product have the head of the adapter that they are of.
        figures.tensors.has(`${prefix}.${name}`)
          ? `${prefix}.${name}`
          : `adapter.${name}`,
      ),
    classifier.layout,
    "base_model.model.",
  );
  return { classifier, values };
}

/** Labels of the reference's batch, of two classes. */
export function referenceLabels({ figures }: Reference): Float32Array {
  return Float32Array.from(figures.ints("labels2"));
}

/** Computes the loss of the reference's batch from its logits of two classes. */
export function referenceLoss(reference: Reference) {
  return (logits: tf.Tensor2D): tf.Scalar =>
    batchLoss("cross-entropy", logits, tf.tensor1d(referenceLabels(reference)));
}

/** Rows of the padded batch, with their two labels. */
export function batchRows(
  reference: Reference,
  from: number,
  to: number,
): Batch {
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
    labels: referenceLabels(reference).slice(from, to),
    tokens: (to - from) * seq,
  };
}

/** The optimizer's state before the first step. */
export function startState(values: Float32Array): AdamWState {
  const zeros = () => tf.zeros([values.length]) as tf.Tensor1D;
  return { values: tf.tensor1d(values), moment1: zeros(), moment2: zeros() };
}

/** What a step draws: one rank, or one for each example. */
export function draw(
  step: number,
  rank: number | readonly number[],
  learningRate: number,
): StepDraw {
  return { step, ranks: [rank].flat(), learningRate, seed: 7 };
}

/** What one step on the padded batch makes of some values. */
export async function takeStep(
  reference: Reference,
  classifier: Classifier,
  values: Float32Array,
  options: StepOptions,
  ranks: number | readonly number[],
): Promise<{ loss: number; values: Float32Array; moment1: Float32Array }> {
  const step = trainingStep(classifier, options);
  const state = startState(values);
  const result = step(
    state,
    [batchRows(reference, 0, 4)],
    draw(0, ranks, 1e-2),
  );
  const taken = {
    loss: (await read(result.loss))[0]!,
    values: await read(result.state.values),
    moment1: await read(result.state.moment1),
  };
  tf.dispose([
    ...Object.values(state),
    ...Object.values(result.state),
    result.loss,
  ]);
  step.dispose();
  return taken;
}
