/** Times the operations of libtensorflow in this process, one by one. */
import { elementCount } from "../../../lib/engine/safetensors/reader.ts";
import { libraryBinding } from "../../../lib/engine/backend.ts";
import type { Attribute } from "../../../lib/engine/tensorflow/attributes.ts";
import { DataType } from "../../../lib/engine/tensorflow/tensors.ts";

/**
 * Calls of an operation, or of a compiled function, with inputs of the same
 * shapes.
 */
export interface Timing {
  /**
   * `product`, or the file of the engine that computes it: `layer_norm`,
   * `adamw`.
   */
  readonly part: string;
  /**
   * `MatMul [1024,384] x [384,1536]`, or of a compiled function its tensors:
   * `[1024,384] [384] -> [1024,384]`.
   */
  readonly name: string;
  calls: number;
  seconds: number;
  /** The fastest call. */
  fastest: number;
  /** Floating-point operations of a call; 0 if it is not a product. */
  readonly flops: number;
  /**
   * Of a compiled function: values of its largest tensor, and bytes of all that
   * it reads and writes.
   */
  readonly loop?: { readonly elements: number; readonly bytes: number };
}

type Binding = NonNullable<ReturnType<typeof libraryBinding>>;

/**
 * Wraps the binding so that each call of the library is timed. On a CPU, a call
 * returns when its result is there.
 *
 * @returns The timings, to which calls are added.
 */
export function timeOperations(): Map<string, Timing> {
  const binding = libraryBinding()!;
  const timings = new Map<string, Timing>();
  Error.stackTraceLimit = 50;
  const count = (
    timing: Omit<Timing, "calls" | "seconds" | "fastest">,
    begin: number,
  ) => {
    const seconds = (performance.now() - begin) / 1000;
    const key = `${timing.part} ${timing.name}`;
    const sum = timings.get(key) ??
      { ...timing, calls: 0, seconds: 0, fastest: Infinity };
    sum.calls++;
    sum.seconds += seconds;
    sum.fastest = Math.min(sum.fastest, seconds);
    timings.set(key, sum);
  };
  const { executeOp, call } = binding;
  binding.executeOp = (...args: Parameters<Binding["executeOp"]>) => {
    if (binding.tracing) return executeOp.apply(binding, args);
    const begin = performance.now();
    const outputs = executeOp.apply(binding, args);
    const [opName, attributes, inputs] = args;
    const shapes = shapesOf(binding, inputs);
    const flops = productFlops(opName, attributes, shapes, outputs[0]?.shape);
    const text = shapes.map((shape) => `[${shape}]`).join(" x ");
    count({
      part: flops > 0 ? "product" : callingFile(),
      name: `${opName} ${text}`,
      flops,
    }, begin);
    return outputs;
  };
  binding.call = (...args: Parameters<Binding["call"]>) => {
    if (binding.tracing) return call.apply(binding, args);
    const begin = performance.now();
    const outputs = call.apply(binding, args);
    const [{ inputs, outputs: results }] = args;
    const all = [...inputs, ...results];
    const sizes = all.map(({ shape }) => elementCount(shape));
    const bytes = all.reduce(
      (sum, { dtype }, i) =>
        sum + sizes[i]! * (dtype === DataType.bfloat16 ? 2 : 4),
      0,
    );
    const text = (of: typeof inputs) =>
      of.map(({ shape }) => `[${shape}]`).join(" ");
    count({
      part: callingFile(),
      name: `${text(inputs)} -> ${text(results)}`,
      flops: 0,
      loop: { elements: Math.max(...sizes), bytes },
    }, begin);
    return outputs;
  };
  return timings;
}

/**
 * The engine's file that computes: the innermost of `ops` or `training` on the
 * stack, except those that run what others compute.
 */
function callingFile(): string {
  const files = new Error().stack!
    .matchAll(/lib\/engine\/(?:ops|training|models)\/(\w+)\.ts/g);
  for (const [, name] of files) {
    if (name !== "gradient") return name!;
  }
  return "tfjs";
}

function shapesOf(binding: Binding, ids: readonly number[]): number[][] {
  return ids.map((id) =>
    [.../\[(.*)\]/.exec(binding.signature([id]))![1]!.matchAll(/\d+/g)]
      .map(Number)
  );
}

/**
 * Two for each multiply-add: the product of `[..., m, k]` and `[..., k, n]`
 * takes `2 m k n`.
 */
function productFlops(
  opName: string,
  attributes: readonly Attribute[],
  [left]: readonly number[][],
  output: readonly number[] | undefined,
): number {
  if (!opName.includes("MatMul") || left === undefined) return 0;
  const isTransposed = attributes.some(({ name, value }) =>
    ["transpose_a", "adj_x"].includes(name) && value === true
  );
  return 2 * elementCount(output!) * left.at(isTransposed ? -2 : -1)!;
}
