import type { TensorValues } from "../safetensors/writer.ts";
import { productSvd } from "./svd.ts";

// LoRA (arXiv 2106.09685): its layout, and what becomes of it after training. Its product is in ops/adapted_linear.ts, since tasks that compute no tensor read adapters.

/** A linear module with an adapter. */
export interface AdaptedModule {
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
}

/** Matches the names of factors: the module, and A or B. */
export const FACTOR = /^(.+)\.lora_([AB])\.weight$/;

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
    const [, module, of] = FACTOR.exec(nameA) ?? [];
    if (module === undefined || of !== "A") return [];
    const nameB = factorB(module);
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
 * Replaces the factors of all modules by those of their singular value
 * decomposition: the products stay the same, and the first b rows of A and
 * columns of B are the best approximation of rank b. Beyond the product's own
 * rank, rows and columns are zero.
 *
 * @param kept Rank of the result, by default that of the adapter
 * @param scale By which the products are divided
 */
export function sortAdapter(
  tensors: AdapterTensors,
  kept?: number,
  scale = 1,
): AdapterTensors {
  return withFactors(tensors, ({ a, b, rank }) => ({
    rank: kept ?? rank,
    ...productSvd({ a, b }, rank).factors(kept ?? rank, scale),
  }));
}

/**
 * Floating-point operations of {@linkcode sortAdapter}: for each module two QR
 * decompositions without their orthogonal factors and two products, `2 n r^2`
 * each, and the rotations of the core, about `40 r^3`.
 */
export function sortFlops(
  { modules, rank }: {
    readonly modules: readonly AdaptedModule[];
    readonly rank: number;
  },
): number {
  return modules.reduce(
    (sum, { inputs, outputs }) =>
      sum + 4 * (inputs + outputs) * rank ** 2 + 40 * rank ** 3,
    0,
  );
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
