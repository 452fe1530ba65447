import { Matrix, QrDecomposition, SingularValueDecomposition } from "ml-matrix";
import {
  type AdaptedModule,
  type AdapterTensors,
  type Factors,
  withFactors,
} from "./lora.ts";

/** Replaces the factors of all modules by those of {@linkcode svdFactors}: the products stay the same, and their first b rows are the best approximation of rank b. */
export function sortAdapter(tensors: AdapterTensors): AdapterTensors {
  return withFactors(
    tensors,
    ({ a, b, rank }) => ({ rank, ...svdFactors({ a, b }, rank) }),
  );
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
 * Floating-point operations of {@linkcode sortAdapter}: for each module two
 * thin QR decompositions with their orthogonal factors, `4 n r^2` each, an SVD
 * of the core, `22 r^3`, and two products, `2 n r^2` each (Golub and Van Loan,
 * Matrix Computations, 4th edition, 5.2 and 8.6).
 */
export function sortFlops(
  { modules, rank }: {
    readonly modules: readonly AdaptedModule[];
    readonly rank: number;
  },
): number {
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
