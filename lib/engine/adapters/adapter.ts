import type * as tf from "@tensorflow/tfjs";
import type { TensorValues } from "../safetensors/writer.ts";

/**
 * A kind of adapter: what it adds to a linear module whose weight is frozen.
 */
export interface AdapterKind {
  /** Name in parameters and in `training.json`. */
  readonly name: string;
  readonly title: string;
  /** Fields of PEFT's configuration that tell it from the others. */
  readonly type: Readonly<Record<string, unknown>>;
  /** Its further fields there. */
  config(settings: PeftScale): Readonly<Record<string, unknown>>;
  /**
   * Its tensors of one module, by what follows the name of the module in PEFT's
   * files.
   */
  readonly tensors: Readonly<Record<string, ModuleParameter>>;
  /**
   * What it adds to a module in a forward pass.
   *
   * @param tensor Gives the module's tensor of a name
   */
  factors(tensor: (suffix: string) => tf.Tensor): AdapterFactors;
  /**
   * Multiply-adds of the {@linkcode AdapterFactors.gain} of a module at a
   * number of ranks.
   */
  gainProducts?(
    module: Omit<AdaptedModule, "name">,
    rank: number,
    ranks: number,
  ): number;
  /** The weight of a module, `[out, in]`, with its adapter merged into it. */
  merge(
    weight: Float32Array,
    adapter: ModuleTensors,
    scale: number,
  ): Float32Array;
  /**
   * The adapter of a module with its ranks sorted by what they contribute: the
   * first b are the best approximation of rank b.
   *
   * @param kept Rank of the result, by default that of the adapter
   * @param scale By which its update is divided
   */
  sort(adapter: ModuleTensors, kept?: number, scale?: number): ModuleTensors;
  /** Floating-point operations of `sort()`. */
  sortFlops(module: AdaptedModule, rank: number): number;
}

/**
 * The tensors of a module with an adapter, whose outputs are
 * `y = gain * (x W^T + (s * (x A^T)) B^T) + c`, without a gain as in LoRA.
 */
export interface AdapterFactors {
  /** `[rank, in]` */
  readonly a: tf.Tensor;
  /** Transposed, so that a rank is a row of both factors: `[rank, out]` */
  readonly b: tf.Tensor;
  /**
   * The gain is `lengths / norms`: what is learnt, `[out]`, and what has no
   * gradient, `[ranks, out]`, of the frozen weight `[out, in]` and the scales
   * `[ranks, rank]`.
   */
  readonly gain?: {
    readonly lengths: tf.Tensor;
    norms(weight: tf.Tensor, scale: tf.Tensor): tf.Tensor;
  };
}

/**
 * A linear module with an adapter, and the width of its input and its output.
 */
export interface AdaptedModule {
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
}

/** A tensor that a kind of adapter has for each module. */
export interface ModuleParameter {
  /**
   * As PEFT stores it. In training it is transposed, if need be, so that a rank
   * is a row.
   */
  readonly shape: readonly ("rank" | "inputs" | "outputs")[];
  /**
   * Initial values: uniform in ±1/sqrt(in), zeros, or made of the module's
   * weight, `[out, in]`.
   */
  readonly start:
    | "uniform"
    | "zeros"
    | ((weight: Float32Array, module: AdaptedModule) => Float32Array);
}

/**
 * Rank, alpha and dropout of an adapter in PEFT, where the scale is alpha /
 * rank, or with rsLoRA alpha / sqrt(rank).
 */
export interface PeftScale {
  readonly rank: number;
  readonly alpha: number;
  readonly useRslora: boolean;
  readonly loraDropout: number;
}

/**
 * The tensors of adapters by name, PEFT's or the model's own; others are those
 * of the head.
 */
export type AdapterTensors = Readonly<Record<string, TensorValues>>;

/**
 * The tensors of one module's adapter, as PEFT stores them, by what follows the
 * name of the module.
 */
export type ModuleTensors = Readonly<Record<string, TensorValues>>;

/** A tensor of an adapter at another rank: cut, or padded with zeros. */
export function resized(
  { shape, values }: TensorValues,
  of: ModuleParameter,
  rank: number,
): TensorValues & { readonly values: Float32Array } {
  const axis = of.shape.indexOf("rank");
  if (axis < 0) return { shape, values: values as Float32Array };
  const [rows, columns] = shape.with(axis, rank) as [number, number];
  const [from, width] = shape as [number, number];
  const padded = new Float32Array(rows * columns);
  for (let row = 0; row < Math.min(rows, from); row++) {
    const start = row * width;
    const kept = values.subarray(start, start + Math.min(width, columns));
    padded.set(kept, row * columns);
  }
  return { shape: [rows, columns], values: padded };
}
