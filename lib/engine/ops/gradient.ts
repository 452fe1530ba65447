import * as tf from "@tensorflow/tfjs-core";
import type { Named } from "../trace.ts";

type Tensors = Readonly<Record<string, tf.Tensor>>;

/**
 * `tf.customGrad` with names: an operation with a gradient of its own.
 *
 * @param inputs Tensors that get a gradient, in the order in which gradients pass through them
 * @param compute Gives the value, and the tensors that the gradient needs
 * @param gradient Gradients of the inputs, from that of the value
 */
export function withGradient<Inputs extends Tensors, Saved extends Named>(
  inputs: Inputs,
  compute: (inputs: Inputs) => {
    readonly value: tf.Tensor;
    readonly saved: Saved;
  },
  gradient: (
    dy: tf.Tensor,
    saved: Saved,
  ) => { readonly [Name in keyof Inputs]: tf.Tensor },
): tf.Tensor {
  const names = Object.keys(inputs);
  return tf.customGrad((...args) => {
    const save = args.pop() as tf.GradSaveFunc;
    const { value, saved } = compute(
      Object.fromEntries(names.map((name, i) => [name, args[i]])) as Inputs,
    );
    const keys = Object.keys(saved).filter((key) => saved[key] !== undefined);
    save(keys.map((key) => saved[key]!));
    return {
      value,
      gradFunc: (dy: tf.Tensor, tensors: tf.Tensor[]) => {
        const gradients = gradient(
          dy,
          Object.fromEntries(keys.map((key, i) => [key, tensors[i]])) as Saved,
        );
        return names.map((name) => gradients[name]!);
      },
    };
  })(...Object.values(inputs));
}
