import * as tf from "@tensorflow/tfjs-core";
import {
  type Classifier,
  loadClassifier,
} from "../../lib/engine/models/classifier.ts";
import {
  fromTensors,
  parameterLayout,
  startValues,
  storedTensors,
} from "../../lib/engine/models/parameters.ts";
import type { ModelRanks } from "../../lib/engine/models/pass_weights.ts";
import type { Reference } from "./reference.ts";

/** The ranks of a classifier without adapters. */
export function noRanks(): ModelRanks {
  return {
    scale: tf.zeros([1, 0]) as tf.Tensor2D,
    gradientMask: tf.zeros([0]) as tf.Tensor1D,
  };
}

/** Flat values of a reference's head with this many labels: of the layout of the head alone. */
export function referenceHead(
  { model, file, figures }: Reference,
  labels: number,
): Float32Array {
  const { read } = storedTensors(file, model);
  return fromTensors((name, shape) => {
    const found = ["head", `head${labels}`].map((group) => `${group}.${name}`)
      .find((it) => figures.tensors.has(it));
    return found === undefined ? read(name, shape) : figures.floats(found);
  }, parameterLayout(model, labels, "head"));
}

/** All weights of a reference, with its head of two labels. */
export function fullClassifier(
  reference: Reference,
): { classifier: Classifier; values: Float32Array } {
  const { model, file } = reference;
  const classifier = loadClassifier(file, model, 2, "all");
  const values = startValues(file, classifier, 0);
  const head = referenceHead(reference, 2);
  values.set(head, classifier.layout.size - head.length);
  return { classifier, values };
}

/** The frozen encoder of a reference with a head of two labels at its start. */
export function headClassifier(
  { model, file }: Reference,
): { classifier: Classifier; values: Float32Array } {
  const classifier = loadClassifier(file, model, 2, "head");
  return { classifier, values: startValues(file, classifier, 0) };
}
