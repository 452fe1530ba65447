import * as tf from "@tensorflow/tfjs-core";
import { withGradient } from "../ops/gradient.ts";
import type { FrozenWeight } from "../ops/linear.ts";
import type { TensorValues } from "../safetensors/writer.ts";
import { fused } from "../trace.ts";

// LoRA (arXiv 2106.09685): its layout, its product, and what becomes of it after training.

/** A linear module with an adapter. */
export interface AdaptedModule {
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
}

/** Name of a module's `lora_A`, `[rank, in]`. */
export function factorA(module: string): string {
  return `${module}.lora_A.weight`;
}

/** Name of a module's `lora_B`, `[out, rank]`. */
export function factorB(module: string): string {
  return `${module}.lora_B.weight`;
}

/** The tensors of a module's adapter, and how they start; B is transposed, so that a rank is a row of both. */
export function loraTensors(
  { name, inputs, outputs }: AdaptedModule,
  rank: number,
) {
  return [
    { name: factorA(name), shape: [rank, inputs], start: "uniform", of: "A" },
    { name: factorB(name), shape: [rank, outputs], start: "zeros", of: "B" },
  ] as const;
}

/** A low-rank adapter on one of the modules of a joined product. */
export interface AdapterBlock {
  /** `lora_A`: `[rank, in]` */
  readonly a: tf.Tensor2D;
  /** `lora_B`, transposed so that a rank is a row of both factors: `[rank, width]` */
  readonly b: tf.Tensor2D;
  /** First output of the module. */
  readonly offset: number;
  readonly ranks: RankVectors;
}

/**
 * The ranks in use, as vectors over the rows of an adapter, so that one
 * computation serves every rank: adding zeros is exact.
 */
export interface RankVectors {
  /** `[ranks, rank]`: the scale at rank b for the first b rows, 0 beyond. */
  readonly scale: tf.Tensor2D;
  /** `[rank]`: 1 for the rows that get a gradient, else 0. */
  readonly gradientMask: tf.Tensor1D;
}

/** Options of {@linkcode adaptedLinear}. */
interface AdaptedLinearOptions {
  /** Rows of `x` at one rank. */
  readonly rows: number;
  /** False if `x` depends on no trained parameter, so that its gradient is not needed. */
  readonly inputGradient: boolean;
}

/**
 * A frozen product with low-rank adapters on some of its outputs:
 * `y = x W^T + c + (s * (x A^T)) B^T`, `s` the scale of the rank in use
 * (arXiv 2210.07558, equation 4).
 *
 * At several ranks, rank g uses `scale[g]`. `x` then holds the rows of each
 * rank one after the other, or rows that all ranks share; the result holds all.
 *
 * The gradients of A and B are masked by `gradientMask`; that of `x` passes
 * through all rows in use.
 *
 * @param x `[ranks * rows, in]`, or `[rows, in]` shared by all ranks
 * @param bias Undefined if the caller adds it
 * @returns `[ranks * rows, out]`
 */
export function adaptedLinear(
  x: tf.Tensor2D,
  frozen: FrozenWeight,
  bias: tf.Tensor1D | undefined,
  blocks: readonly AdapterBlock[],
  { rows, inputGradient }: AdaptedLinearOptions,
): tf.Tensor2D {
  const [ranks, rank] = blocks[0]!.ranks.scale.shape;
  const width = rank * blocks.length;
  const isShared = x.shape[0] === rows && ranks > 1;
  const scale = tf.reshape(
    tf.concat(blocks.map(({ ranks }) => ranks.scale), 1),
    ranks === 1 ? [1, width] : [ranks, 1, width],
  );
  const masks = blocks.map(({ ranks }) =>
    tf.reshape(ranks.gradientMask, [rank, 1])
  );

  const scaled = (rowsOf: tf.Tensor, by: tf.Tensor): tf.Tensor2D =>
    tf.reshape(
      ranks === 1
        ? tf.mul(rowsOf, by)
        : tf.mul(tf.reshape(rowsOf, [-1, rows, width]), by),
      [-1, width],
    );
  const add = (frozen: tf.Tensor, adapted: tf.Tensor): tf.Tensor =>
    bias === undefined
      ? addTwo({ x: frozen, y: adapted }).sum
      : addBiased({ x: frozen, bias, y: adapted }).sum;

  const inputs: Record<string, tf.Tensor> = {
    ...(inputGradient && { x }),
    ...named("A", blocks.map(({ a }) => a)),
    ...named("B", blocks.map(({ b }) => b)),
  };
  let outputs: number;
  return withGradient(inputs, (inputs) => {
    const source = (inputs.x ?? x) as tf.Tensor2D;
    const { weight } = frozen;
    [outputs] = weight.shape;
    const down = tf.concat(
      blocks.map((_, i) => inputs[`A${i}`] as tf.Tensor2D),
      0,
    );
    const up = tf.concat(
      blocks.map(({ offset, b }, i) =>
        tf.pad(inputs[`B${i}`] as tf.Tensor2D, [[0, 0], [
          offset,
          outputs - offset - b.shape[1],
        ]])
      ),
      0,
    );
    const used = scaled(tf.matMul(source, down, false, true), scale);
    const product = tf.matMul(source, weight, false, true);
    const adapted = tf.matMul(used, up);
    return {
      value: isShared
        ? tf.reshape(
          add(product, tf.reshape(adapted, [ranks, rows, outputs])),
          [ranks * rows, outputs],
        )
        : add(product, adapted),
      saved: { source, down, up, used, scale, ...named("mask", masks) },
    };
  }, (dy, saved: Readonly<Record<string, tf.Tensor>>) => {
    const grad = dy as tf.Tensor2D;
    const dUsed = scaled(
      tf.matMul(grad, saved.up!, false, true),
      saved.scale!,
    );
    const dDown = tf.matMul(
      isShared
        ? tf.sum(tf.reshape(dUsed, [ranks, rows, width]), 0)
        : dUsed as tf.Tensor,
      saved.source!,
      true,
      false,
    );
    const dUp = tf.matMul(saved.used!, grad, true, false);
    const dA = tf.split(dDown, blocks.length, 0).map((part, i) =>
      tf.mul(part, saved[`mask${i}`]!)
    );
    const dB = blocks.map(({ offset, b }, i) =>
      tf.mul(
        tf.slice(dUp, [i * rank, offset], [rank, b.shape[1]]),
        saved[`mask${i}`]!,
      )
    );
    return {
      ...(inputGradient && {
        x: addTwo({
          x: tf.matMul(grad, frozen.weight),
          y: tf.matMul(dUsed, saved.down!),
        }).sum,
      }),
      ...named("A", dA),
      ...named("B", dB),
    };
  }) as tf.Tensor2D;
}

/** Multiply-adds that the adapters of a product add to it. */
export function loraOperations(
  { inputs, outputs, rank, inputRows, outputRows, inputGradient }: {
    readonly inputs: number;
    readonly outputs: number;
    /** Of all its adapters together. */
    readonly rank: number;
    /** Rows of the input, which ranks may share. */
    readonly inputRows: number;
    /** Rows of the output, at all ranks. */
    readonly outputRows: number;
    readonly inputGradient: boolean;
  },
): { readonly forward: number; readonly backward: number } {
  const down = inputRows * inputs * rank;
  const up = outputRows * rank * outputs;
  return {
    forward: down + up,
    backward: (inputGradient ? 2 : 1) * down + 2 * up,
  };
}

function named(
  name: string,
  tensors: readonly tf.Tensor[],
): Record<string, tf.Tensor> {
  return Object.fromEntries(tensors.map((it, i) => [`${name}${i}`, it]));
}

const addBiased = fused(
  ({ x, bias, y }: Record<"x" | "bias" | "y", tf.Tensor>) => ({
    sum: tf.add(tf.add(x, bias), y),
  }),
  { products: ["sum"] },
);

const addTwo = fused(
  ({ x, y }: Record<"x" | "y", tf.Tensor>) => ({ sum: tf.add(x, y) }),
);

/** The tensors of adapters by name, PEFT's or the model's own: `lora_A` is `[rank, in]`, `lora_B` `[out, rank]`; others are those of the head. */
export type AdapterTensors = Readonly<Record<string, TensorValues>>;

/** The two factors of a module. */
export interface Factors {
  /** Name of the module, with the prefix of the tensors. */
  readonly module: string;
  readonly nameA: string;
  readonly nameB: string;
  readonly rank: number;
  /** `lora_A`: `[rank, in]` */
  readonly a: Float32Array;
  /** `lora_B`: `[out, rank]` */
  readonly b: Float32Array;
}

/** The factors of all modules. */
function factorsOf(tensors: AdapterTensors): Factors[] {
  return Object.entries(tensors).flatMap(([nameA, { shape, values }]) => {
    const [, module] = /^(.+)\.lora_A\.weight$/.exec(nameA) ?? [];
    if (module === undefined) return [];
    const nameB = `${module}.lora_B.weight`;
    const b = tensors[nameB]!.values as Float32Array;
    const a = values as Float32Array;
    return [{ module, nameA, nameB, rank: shape[0]!, a, b }];
  });
}

/** The adapter with other factors. */
export function withFactors(
  tensors: AdapterTensors,
  change: (factors: Factors) => Pick<Factors, "a" | "b" | "rank">,
): AdapterTensors {
  const changed: Record<string, TensorValues> = { ...tensors };
  for (const factors of factorsOf(tensors)) {
    const { a, b, rank } = change(factors);
    const [inputs, outputs] = [a.length / rank, b.length / rank];
    changed[factors.nameA] = { shape: [rank, inputs], values: a };
    changed[factors.nameB] = { shape: [outputs, rank], values: b };
  }
  return changed;
}

/**
 * Keeps the first rows of each `lora_A` and the first columns of each `lora_B`.
 *
 * @param rankOf Rank to keep of the module of a tensor
 */
export function cutAdapter(
  tensors: AdapterTensors,
  rankOf: (tensor: string) => number,
): AdapterTensors {
  return withFactors(tensors, ({ nameA, a, b, rank }) => {
    const kept = rankOf(nameA);
    return {
      rank: kept,
      a: a.slice(0, kept * a.length / rank),
      b: b.filter((_, i) => i % rank < kept),
    };
  });
}

/**
 * Weights with an adapter merged into them, beside the adapter's other tensors.
 *
 * @param weights By the names of the modules, `[out, in]` each
 * @param scaleAt Scale at the rank of a module
 * @param prefix Of the adapter's names
 */
export function mergeAdapter(
  weights: Readonly<Record<string, TensorValues>>,
  tensors: AdapterTensors,
  scaleAt: (rank: number) => number,
  prefix: string,
): Record<string, TensorValues> {
  const merged = { ...weights };
  const factors = factorsOf(tensors);
  const ofFactors = new Set(factors.flatMap((it) => [it.nameA, it.nameB]));
  for (const [name, tensor] of Object.entries(tensors)) {
    if (!ofFactors.has(name)) merged[name.slice(prefix.length)] = tensor;
  }
  for (const { module, a, b, rank } of factors) {
    const target = `${module.slice(prefix.length)}.weight`;
    const { shape, values } = weights[target]!;
    const weight = values as Float32Array;
    const scale = scaleAt(rank);
    merged[target] = { shape, values: mergeLora(weight, a, b, rank, scale) };
  }
  return merged;
}

/**
 * The weight of a linear module with a low-rank update added: `W + scale B A`, each
 * value summed in float64 and rounded once.
 *
 * @param weight `W`: `[out, in]`
 * @param a `lora_A`: `[rank, in]`
 * @param b `lora_B`: `[out, rank]`
 * @returns `[out, in]`
 */
export function mergeLora(
  weight: Float32Array,
  a: Float32Array,
  b: Float32Array,
  rank: number,
  scale: number,
): Float32Array<ArrayBuffer> {
  const inputs = a.length / rank;
  const outputs = b.length / rank;
  const merged = new Float32Array(weight.length);
  const row = new Float64Array(inputs);
  for (let out = 0; out < outputs; out++) {
    row.fill(0);
    for (let k = 0; k < rank; k++) {
      const factor = b[out * rank + k]!;
      const start = k * inputs;
      for (let i = 0; i < inputs; i++) row[i]! += factor * a[start + i]!;
    }
    const start = out * inputs;
    for (let i = 0; i < inputs; i++) {
      merged[start + i] = weight[start + i]! + scale * row[i]!;
    }
  }
  return merged;
}
