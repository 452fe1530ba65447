import * as tf from "@tensorflow/tfjs-core";
import { libraryBinding } from "./backend.ts";
import type {
  TensorflowBinding,
  TensorMetadata,
  TracedFunction,
} from "./tensorflow/binding.ts";
import { tensorIds, tensorOf } from "./tensorflow/tfjs_node_gpu.ts";

/** Tensors by name. Undefined ones count as absent. */
export type Named = { readonly [name: string]: tf.Tensor | undefined };

/**
 * Makes a function that traces `f` at its first call with each set of names
 * and shapes, and runs the graph from then on. Its inputs and results are
 * records and lists of tensors, of any depth.
 *
 * `f` must be a pure function of its inputs and of tensors that outlive it: it
 * may not read values. On engines without graphs, `f` is called directly.
 *
 * @param options.products As of {@linkcode fused}, which compiles the function
 * @throws {Error} From the first call, if `f` does something that cannot be traced.
 */
export function trace<Inputs extends object, Outputs extends object>(
  f: (inputs: Inputs) => Outputs,
  { eager: isEager = false, products }: TraceOptions & {
    readonly products?: readonly string[];
  } = {},
) {
  const functions = new Map<string, Made<Outputs>>();

  /** Calls it as one graph function of the library; the caller disposes the results. */
  function traced(inputs: Inputs): Outputs {
    const binding = libraryBinding();
    const given = tensorsIn(inputs);
    const isInline = products !== undefined
      ? given.every(([, { size }]) => size < COMPILED_SIZE)
      : binding?.tracing;
    if (isEager || !binding || isInline) {
      return tf.tidy(() => f(inputs) as Outputs & Named);
    }
    const ids = tensorIds(given.map(([, tensor]) => tensor));
    const names = given.map(([name]) => name);
    const signature = `${names} ${binding.precision} ${binding.signature(ids)}`;
    const made = functions.get(signature) ??
      record(binding, f, inputs, ids, products);
    functions.set(signature, made);
    return withTensors(made.results, binding.call(made.graph, ids));
  }

  return Object.assign(traced, {
    /** Number of graph functions made so far: one for each set of names and shapes. */
    traces: () => functions.size,
    /** Frees the graph functions. */
    dispose() {
      for (const { graph } of functions.values()) {
        libraryBinding()?.removeFunction(graph);
      }
      functions.clear();
    },
  });
}

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
 *
 * @param options.products Results that only products take: in mixed precision they are stored in bfloat16
 */
export function fused<Inputs extends object, Outputs extends object>(
  f: (inputs: Inputs) => Outputs,
  { products = [] }: {
    readonly products?: readonly (keyof Outputs & string)[];
  } = {},
): (inputs: Inputs) => Outputs {
  return trace(f, { products });
}

/** A graph function, and its results in the trace: others of the same form are given at each call. */
interface Made<Outputs> {
  readonly graph: TracedFunction;
  readonly results: Outputs;
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

function record<Inputs extends object, Outputs extends object>(
  binding: TensorflowBinding,
  f: (inputs: Inputs) => Outputs,
  inputs: Inputs,
  ids: readonly number[],
  products: readonly string[] | undefined,
): Made<Outputs> {
  const symbols = binding.beginTrace(ids);
  try {
    let results: Outputs | undefined;
    const outputs = tf.tidy(() => {
      results = f(withTensors(inputs, symbols));
      const found = tensorsIn(results);
      return {
        ids: tensorIds(found.map(([, tensor]) => tensor)),
        narrow: found.map(([name]) => products?.includes(name) ?? false),
      };
    });
    const compiled = products !== undefined;
    return {
      graph: binding.endTrace(outputs.ids, compiled, outputs.narrow),
      results: results!,
    };
  } catch (error) {
    binding.abandonTrace();
    throw error;
  }
}

/** The tensors in records and lists, by their paths: `own.0.key`. */
function tensorsIn(of: object, path = ""): [path: string, tf.Tensor][] {
  return Object.entries(of).flatMap(([name, it]) =>
    it === undefined
      ? []
      : it instanceof tf.Tensor
      ? [[`${path}${name}`, it]]
      : tensorsIn(it, `${path}${name}.`)
  );
}

/** Records and lists with other tensors in place of theirs, in the order of {@linkcode tensorsIn}. */
function withTensors<T>(of: T, others: readonly TensorMetadata[]): T {
  const next = others.values();
  return mapInstances(of, tf.Tensor, () => tensorOf(next.next().value!)) as T;
}

/** Records and lists, of any depth, with something else in place of each instance of a class. */
export function mapInstances<T>(
  of: unknown,
  type: abstract new (...args: never) => T,
  by: (instance: T) => unknown,
): unknown {
  if (of instanceof type) return by(of);
  if (Array.isArray(of)) return of.map((it) => mapInstances(it, type, by));
  if (of?.constructor !== Object) return of;
  return Object.fromEntries(
    Object.entries(of).map(([name, it]) => [name, mapInstances(it, type, by)]),
  );
}
