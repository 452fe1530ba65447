import type * as tf from "@tensorflow/tfjs-core";
import { runDifferentiable } from "../tensorflow/tfjs_node_gpu.ts";
import type { Named } from "../trace.ts";

type Tensors = Readonly<Record<string, tf.Tensor>>;

/**
 * Result and tensors saved for the backward pass; other intermediates are
 * disposed.
 */
type Computed = Named & { readonly value: tf.Tensor };

/**
 * An operation with a gradient of its own.
 *
 * @param inputs Tensors that get a gradient if they depend on what is trained,
 * in the order in which gradients pass through them
 * @param compute Gives the value, and beside it the tensors that the gradient
 * needs
 * @param gradient Gradients of the inputs, from that of the value; functions
 * are called only for inputs that get one
 */
export function withGradient<Inputs extends Tensors, Found extends Computed>(
  inputs: Inputs,
  compute: () => Found,
  gradient: (
    dy: tf.Tensor,
    saved: Omit<Found, "value">,
  ) => { readonly [Name in keyof Inputs]: tf.Tensor | (() => tf.Tensor) },
): tf.Tensor {
  let keys: string[] = [];
  return runDifferentiable({
    inputs,
    forwardFunc(_backend, save) {
      const { value, ...saved }: Computed = compute();
      keys = Object.keys(saved).filter((key) => saved[key] !== undefined);
      save(keys.map((key) => saved[key]!));
      return value;
    },
    backwardsFunc(dy, tensors) {
      const saved = keys.map((key, i) => [key, tensors[i]]);
      const gradients = gradient(dy, Object.fromEntries(saved));
      return Object.fromEntries(
        Object.entries(gradients).map(([name, it]) =>
          [name, typeof it === "function" ? it : () => it] as const
        ),
      );
    },
  });
}
