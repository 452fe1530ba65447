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
 * @throws {Error} From the first call, if `f` does something that cannot be
 * traced.
 */
export function trace<Inputs extends object, Outputs extends object>(
  f: (inputs: Inputs) => Outputs,
  { eager = false }: TraceOptions = {},
): Traced<Inputs, Outputs> {
  return recorded(f, { isEager: eager, isCompiled: false, bfloat16: [] });
}

/** A function that is traced; the caller disposes its results. */
export interface Traced<Inputs, Outputs> {
  (inputs: Inputs): Outputs;
  /**
   * Number of graph functions made so far: one for each set of names and
   * shapes.
   */
  traces(): number;
  /** Frees the graph functions. */
  dispose(): void;
}

/** How a function is traced. */
interface Recording {
  readonly isEager: boolean;
  /** True if XLA compiles it. */
  readonly isCompiled: boolean;
  /** Results that mixed precision stores in bfloat16. */
  readonly bfloat16: readonly string[];
}

function recorded<Inputs extends object, Outputs extends object>(
  f: (inputs: Inputs) => Outputs,
  recording: Recording,
): Traced<Inputs, Outputs> {
  const functions = new Map<string, Made<Outputs>>();

  function traced(inputs: Inputs): Outputs {
    const binding = libraryBinding();
    const tensors = tensorsIn(inputs);
    const isInline = recording.isCompiled
      ? tensors.every(([, { size }]) => size < COMPILED_SIZE)
      : binding?.tracing;
    if (recording.isEager || !binding || isInline) {
      return tf.tidy(() => f(inputs) as Outputs & Named);
    }
    const ids = tensorIds(tensors.map(([, tensor]) => tensor));
    const names = tensors.map(([name]) => name);
    const signature = `${names} ${binding.precision} ${binding.signature(ids)}`;
    const made = functions.get(signature) ??
      record(binding, f, inputs, ids, recording);
    functions.set(signature, made);
    return withTensors(made.results, binding.call(made.graph, ids));
  }

  return Object.assign(traced, {
    traces: () => functions.size,
    dispose() {
      for (const { graph } of functions.values()) {
        libraryBinding()?.removeFunction(graph);
      }
      functions.clear();
    },
  });
}

export interface TraceOptions {
  /**
   * Runs operation by operation instead of as a graph: the reference in tests,
   * and what a profile times.
   */
  readonly eager?: boolean;
}

/**
 * Minimum number of values in the largest input for compilation to pay off;
 * compiling takes about 0.1 s.
 */
export const COMPILED_SIZE = 2 ** 15;

/**
 * Makes a function that is compiled into fused loops, for computations that are
 * bound by memory rather than by arithmetic. Inside a trace it stays a separate
 * function, so that it gives the same bits there as outside.
 *
 * `f` must be a pure function of its inputs alone.
 *
 * @param options.bfloat16 Results that mixed precision stores in bfloat16,
 * since only matrix products read them
 */
export function fused<Inputs extends object, Outputs extends object>(
  f: (inputs: Inputs) => Outputs,
  { bfloat16 = [] }: {
    readonly bfloat16?: readonly (keyof Outputs & string)[];
  } = {},
): (inputs: Inputs) => Outputs {
  return recorded(f, { isEager: false, isCompiled: true, bfloat16 });
}

/**
 * A graph function, and its results in the trace: others of the same form are
 * given at each call.
 */
interface Made<Outputs> {
  readonly graph: TracedFunction;
  readonly results: Outputs;
}

/**
 * In a graph, `Identity` with a control dependency on another tensor: what uses
 * `x` starts no earlier, which bounds memory.
 */
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
  { isCompiled, bfloat16 }: Recording,
): Made<Outputs> {
  const symbols = binding.beginTrace(ids);
  try {
    let results: Outputs | undefined;
    const outputs = tf.tidy(() => {
      results = f(withTensors(inputs, symbols));
      const tensors = tensorsIn(results);
      return {
        ids: tensorIds(tensors.map(([, tensor]) => tensor)),
        isBfloat16: tensors.map(([name]) => bfloat16.includes(name)),
      };
    });
    return {
      graph: binding.endTrace(outputs.ids, isCompiled, outputs.isBfloat16),
      results: results!,
    };
  } catch (error) {
    binding.abandonTrace();
    throw error;
  }
}

/**
 * The tensors in records and lists, by their paths: `own.0.key`.
 *
 * @throws {TypeError} If there is another value, which a trace would keep as it
 * was when it was made.
 */
function tensorsIn(of: object, path = ""): [path: string, tf.Tensor][] {
  return Object.entries(of).flatMap(([name, it]) => {
    if (it === undefined) return [];
    if (it instanceof tf.Tensor) return [[`${path}${name}`, it]];
    if (Array.isArray(it) || it?.constructor === Object) {
      return tensorsIn(it, `${path}${name}.`);
    }
    throw new TypeError(
      `"${path}${name}" of a traced function is neither a tensor nor a record or list of tensors`,
    );
  });
}

/**
 * Records and lists with other tensors in place of theirs, in the order of
 * {@linkcode tensorsIn}.
 */
function withTensors<T>(of: T, others: readonly TensorMetadata[]): T {
  const next = others.values();
  const replaced = (it: unknown): unknown => {
    if (it instanceof tf.Tensor) return tensorOf(next.next().value!);
    if (Array.isArray(it)) return it.map(replaced);
    if (it?.constructor !== Object) return it;
    return Object.fromEntries(
      Object.entries(it).map(([name, member]) => [name, replaced(member)]),
    );
  };
  return replaced(of) as T;
}
