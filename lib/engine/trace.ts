import * as tf from "@tensorflow/tfjs-core";
import { libraryBinding, tensorIds, tensorOf } from "./backend.ts";
import type { FunctionOptions, TracedFunction } from "./tensorflow/graph.ts";

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
  return functionOf(f, { compiled: false, narrow: [] });
}

/** Values from which on compiling a function pays, which takes some 0.1 s. */
const compiledSize = 2 ** 15;

/**
 * Makes a function that is compiled into fused loops, for what is bound by
 * memory rather than by arithmetic. Inside a trace it stays a function of its
 * own, so that it gives the same bits there as called by itself.
 *
 * `f` must be a pure function of its inputs alone.
 */
export function fused(
  f: (inputs: readonly tf.Tensor[]) => tf.Tensor[],
  { products }: FusedOptions = { products: [] },
): (inputs: readonly tf.Tensor[]) => tf.Tensor[] {
  let made: Traced | undefined;
  return (inputs) =>
    (made ??= functionOf(f, { compiled: true, narrow: products }))(inputs);
}

/** Options of {@linkcode fused}. */
export interface FusedOptions {
  /** Numbers of the results that only products take: kept in bfloat16 in mixed precision. */
  readonly products: readonly number[];
}

function functionOf(
  f: (inputs: readonly tf.Tensor[]) => tf.Tensor[],
  options: FunctionOptions,
): Traced {
  const binding = libraryBinding();
  const functions = new Map<string, TracedFunction>();

  function traced(inputs: readonly tf.Tensor[]): tf.Tensor[] {
    if (binding === undefined || (binding.tracing && !options.compiled)) {
      return eager(f, inputs);
    }
    const small = inputs.every(({ size }) => size < compiledSize);
    if (options.compiled && small) return tf.tidy(() => f(inputs));
    const ids = tensorIds(inputs);
    const signature = `${binding.precision} ${binding.signature(ids)}`;
    let made = functions.get(signature);
    if (made === undefined) {
      made = record(binding, f, ids, options);
      functions.set(signature, made);
    }
    return binding.call(made, ids).map((metadata) => tensorOf(metadata));
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
  inputIds: readonly number[],
  options: FunctionOptions,
): TracedFunction {
  const symbols = binding.beginTrace(inputIds);
  try {
    let outputIds: number[] = [];
    tf.tidy(() => {
      outputIds = tensorIds(f(symbols.map((metadata) => tensorOf(metadata))));
    });
    return binding.endTrace(outputIds, options);
  } catch (error) {
    binding.abandonTrace();
    throw error;
  }
}
