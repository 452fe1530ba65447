import * as tf from "@tensorflow/tfjs-core";
import { libraryBinding, tensorIds, tensorOf } from "./backend.ts";
import type { TracedFunction } from "./tensorflow/binding.ts";

/** A function of tensors that runs as one graph function of the library. */
export interface Traced {
  /** Calls it; the caller disposes the results. */
  (inputs: readonly tf.Tensor[]): tf.Tensor[];
  /** Number of graph functions made so far: one for each set of input shapes. */
  readonly traces: number;
  /** Frees the graph functions. */
  dispose(): void;
}

/**
 * Makes a function that traces `f` at its first call with each set of input
 * shapes and from then on runs the graph.
 *
 * `f` must be a pure function of its inputs and of tensors that outlive it: it
 * may not read values. On engines without graphs it is called as it is.
 *
 * @throws {Error} From the first call, when `f` does what cannot be traced.
 */
export function trace(
  f: (inputs: readonly tf.Tensor[]) => tf.Tensor[],
): Traced {
  const binding = libraryBinding();
  const functions = new Map<string, TracedFunction>();

  function traced(inputs: readonly tf.Tensor[]): tf.Tensor[] {
    if (binding === undefined || binding.tracing) return eager(f, inputs);
    const signature = inputs.map(({ dtype, shape }) => `${dtype}[${shape}]`)
      .join(" ");
    let made = functions.get(signature);
    if (made === undefined) {
      made = record(binding, f, inputs);
      functions.set(signature, made);
    }
    return binding.call(made, tensorIds(inputs)).map((metadata) =>
      tensorOf(metadata)
    );
  }

  return Object.defineProperties(traced, {
    traces: { get: () => functions.size },
    dispose: {
      value: () => {
        for (const made of functions.values()) binding?.removeFunction(made);
        functions.clear();
      },
    },
  }) as unknown as Traced;
}

/** Calls `f` operation by operation: the reference that traced runs are compared with. */
export function eager(
  f: (inputs: readonly tf.Tensor[]) => tf.Tensor[],
  inputs: readonly tf.Tensor[],
): tf.Tensor[] {
  return tf.tidy(() => f(inputs).map((output) => tf.keep(output)));
}

function record(
  binding: NonNullable<ReturnType<typeof libraryBinding>>,
  f: (inputs: readonly tf.Tensor[]) => tf.Tensor[],
  inputs: readonly tf.Tensor[],
): TracedFunction {
  const symbols = binding.beginTrace(tensorIds(inputs));
  try {
    let outputIds: number[] = [];
    tf.tidy(() => {
      outputIds = tensorIds(f(symbols.map((metadata) => tensorOf(metadata))));
    });
    return binding.endTrace(outputIds);
  } finally {
    binding.abandonTrace();
  }
}
