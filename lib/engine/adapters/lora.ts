import { Matrix, QrDecomposition, SingularValueDecomposition } from "ml-matrix";
import type { ParameterLayout } from "../models/model.ts";
import { fromTensors, toTensors } from "../models/parameters.ts";
import type { TensorValues } from "../safetensors/writer.ts";

/** The tensors of adapters by name, PEFT's or the model's own: `lora_A` is `[rank, in]`, `lora_B` `[out, rank]`; others are those of the head. */
export type AdapterTensors = Readonly<Record<string, TensorValues>>;

/** The two factors of a module. */
interface Factors {
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
function withFactors(
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

/** Replaces the factors of all modules by those of {@linkcode svdFactors}: the products stay the same, and their first b rows are the best approximation of rank b. */
export function sortAdapter(tensors: AdapterTensors): AdapterTensors {
  return withFactors(
    tensors,
    ({ a, b, rank }) => ({ rank, ...svdFactors({ a, b }, rank) }),
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

/**
 * Factors of the same product, ordered so that the first b rows of A and
 * columns of B are the best approximation of rank b (Eckart and Young 1936):
 * of `B A = U S V^T`, A is `sqrt(S) V^T` and B is `U sqrt(S)`.
 *
 * Computed in float64 from the thin QR factors of B and A^T, so that only a
 * core of the size of the rank is decomposed. The signs, which the
 * decomposition leaves open, are those that make the largest value of each row
 * of A positive. Beyond the product's own rank, rows and columns are zero.
 */
export function svdFactors(
  { a, b }: Pick<Factors, "a" | "b">,
  rank: number,
): { a: Float32Array<ArrayBuffer>; b: Float32Array<ArrayBuffer> } {
  const left = thinFactors(matrixOf(b, b.length / rank, rank));
  const right = thinFactors(matrixOf(a, rank, a.length / rank).transpose());
  const core = new SingularValueDecomposition(
    left.r.mmul(right.r.transpose()),
    { autoTranspose: true },
  );
  const u = left.q.mmul(core.leftSingularVectors);
  const v = right.q.mmul(core.rightSingularVectors);
  const factors = {
    a: new Float32Array(a.length),
    b: new Float32Array(b.length),
  };
  core.diagonal.forEach((value, row) => {
    const root = Math.sqrt(value) * signOfLargest(v.getColumn(row));
    for (let i = 0; i < v.rows; i++) {
      factors.a[row * v.rows + i] = root * v.get(i, row);
    }
    for (let i = 0; i < u.rows; i++) {
      factors.b[i * rank + row] = root * u.get(i, row);
    }
  });
  return factors;
}

/**
 * {@linkcode sortAdapter} of a flat parameter vector.
 *
 * @param values `[size]`
 */
export function sortParameters(
  values: Float32Array,
  layout: ParameterLayout,
): Float32Array<ArrayBuffer> {
  const sorted = sortAdapter(toTensors(values, layout));
  return fromTensors((name) => sorted[name]!.values as Float32Array, layout);
}

/**
 * Floating-point operations of {@linkcode sortParameters}: for each module two
 * thin QR decompositions with their orthogonal factors, `4 n r^2` each, an SVD
 * of the core, `22 r^3`, and two products, `2 n r^2` each (Golub and Van Loan,
 * Matrix Computations, 4th edition, 5.2 and 8.6).
 */
export function sortFlops({ modules, rank }: ParameterLayout): number {
  return modules.reduce(
    (sum, { inputs, outputs }) =>
      sum + 6 * (inputs + outputs) * rank ** 2 + 22 * rank ** 3,
    0,
  );
}

/** `m = q r` with orthonormal columns in q, which has no more columns than m has rows. */
function thinFactors(m: Matrix): { q: Matrix; r: Matrix } {
  if (m.columns >= m.rows) return { q: Matrix.eye(m.rows), r: m };
  const { orthogonalMatrix, upperTriangularMatrix } = new QrDecomposition(m);
  return { q: orthogonalMatrix, r: upperTriangularMatrix };
}

function signOfLargest(values: readonly number[]): 1 | -1 {
  let largest = 0;
  for (const value of values) {
    if (Math.abs(value) > Math.abs(largest)) largest = value;
  }
  return largest < 0 ? -1 : 1;
}

function matrixOf(values: Float32Array, rows: number, columns: number): Matrix {
  return Matrix.from1DArray(rows, columns, values);
}
