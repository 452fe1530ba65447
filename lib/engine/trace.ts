import * as tf from "@tensorflow/tfjs-core";
import { libraryBinding, tensorIds, tensorOf } from "./backend.ts";
import type { FunctionOptions, TracedFunction } from "./tensorflow/binding.ts";

/** Tensors by name. Undefined ones count as absent. */
export type Named = { readonly [name: string]: tf.Tensor | undefined };

/**
 * Makes a function that traces `f` at its first call with each set of names
 * and shapes, and runs the graph from then on.
 *
 * `f` must be a pure function of its inputs and of tensors that outlive it: it
 * may not read values. On engines without graphs, `f` is called directly.
 *
 * @throws {Error} From the first call, if `f` does something that cannot be traced.
 */
export function trace<Inputs extends Named, Outputs extends Named>(
  f: (inputs: Inputs) => Outputs,
  options: TraceOptions = {},
) {
  return functionOf(f, options);
}

/** Options of {@linkcode trace}. */
export interface TraceOptions {
  /** Runs operation by operation instead of as a graph: the reference in tests, and what a profile times. */
  readonly eager?: boolean;
}

/** Minimum number of values in the largest input for compilation to pay off; compiling takes about 0.1 s. */
export const COMPILED_SIZE = 2 ** 15;

/**
 * Makes a function that is compiled into fused loops, for computations that are
 * bound by memory rather than by arithmetic. Inside a trace it stays a separate
 * function, so that it gives the same bits there as outside.
 *
 * `f` must be a pure function of its inputs alone.
 */
export function fused<Inputs extends Named, Outputs extends Named>(
  f: (inputs: Inputs) => Outputs,
  { products = [] }: FusedOptions<Outputs> = {},
): (inputs: Inputs) => Outputs {
  let made: ((inputs: Inputs) => Outputs) | undefined;
  return (inputs) => (made ??= functionOf(f, { products }))(inputs);
}

/** Options of {@linkcode fused}. */
interface FusedOptions<Outputs> {
  /** Results that only products take: in mixed precision they are stored in bfloat16. */
  readonly products?: readonly (keyof Outputs & string)[];
}

/** A graph function, and the names of its results in their order. */
interface Made {
  readonly graph: TracedFunction;
  readonly outputs: readonly string[];
}

/** @param products Results that only products take, of a function that is compiled */
function functionOf<Inputs extends Named, Outputs extends Named>(
  f: (inputs: Inputs) => Outputs,
  { eager: isEager = false, products }: TraceOptions & {
    readonly products?: readonly string[];
  },
) {
  const isCompiled = products !== undefined;
  const binding = libraryBinding();
  const functions = new Map<string, Made>();

  /** Calls it as one graph function of the library; the caller disposes the results. */
  function traced(inputs: Inputs): Outputs {
    const given = present(inputs);
    const isInline = isCompiled
      ? given.every(([, { size }]) => size < COMPILED_SIZE)
      : binding?.tracing;
    if (isEager || !binding || isInline) return tf.tidy(() => f(inputs));
    const names = given.map(([name]) => name);
    const ids = tensorIds(given.map(([, tensor]) => tensor));
    const signature = `${names} ${binding.precision} ${binding.signature(ids)}`;
    let made = functions.get(signature);
    if (made === undefined) {
      made = record(binding, f, names, ids, products);
      functions.set(signature, made);
    }
    return named(made.outputs, binding.call(made.graph, ids)) as Outputs;
  }

  return Object.assign(traced, {
    /** Number of graph functions made so far: one for each set of names and shapes. */
    traces: () => functions.size,
    /** Frees the graph functions. */
    dispose() {
      for (const { graph } of functions.values()) {
        binding?.removeFunction(graph);
      }
      functions.clear();
    },
  });
}

/** The same tensor, which in a graph is there only when the other is, so that what it is needed for starts no earlier. */
export function waitFor<T extends tf.Tensor>(
  x: T,
  other: tf.Tensor | undefined,
): T {
  const binding = libraryBinding();
  if (!binding?.tracing || other === undefined) return x;
  const [id, awaited] = tensorIds([x, other]) as [number, number];
  return tensorOf(binding.after(id, awaited)) as T;
}

function record<Inputs extends Named, Outputs extends Named>(
  binding: NonNullable<ReturnType<typeof libraryBinding>>,
  f: (inputs: Inputs) => Outputs,
  names: readonly string[],
  ids: readonly number[],
  products: readonly string[] | undefined,
): Made {
  const symbols = binding.beginTrace(ids);
  try {
    let outputs: string[] = [];
    let outputIds: number[] = [];
    tf.tidy(() => {
      const results = present(f(named(names, symbols) as Inputs));
      outputs = results.map(([name]) => name);
      outputIds = tensorIds(results.map(([, tensor]) => tensor));
    });
    const options: FunctionOptions = {
      compiled: products !== undefined,
      narrow: products?.map((name) => outputs.indexOf(name)) ?? [],
    };
    return { graph: binding.endTrace(outputIds, options), outputs };
  } catch (error) {
    binding.abandonTrace();
    throw error;
  }
}

function present(tensors: Named): [string, tf.Tensor][] {
  return Object.entries(tensors).filter((entry): entry is [string, tf.Tensor] =>
    entry[1] !== undefined
  );
}

function named(
  names: readonly string[],
  metadata: readonly Parameters<typeof tensorOf>[0][],
): Record<string, tf.Tensor> {
  return Object.fromEntries(
    names.map((name, i) => [name, tensorOf(metadata[i]!)]),
  );
}
