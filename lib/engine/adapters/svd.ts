import { addTo, dot, lengthOf, transpose } from "../vectors.ts";

/** Two factors of a product `B A`, row-major. */
interface Factors {
  /** `[rank, in]` */
  readonly a: Float32Array | Float64Array;
  /** `[out, rank]` */
  readonly b: Float32Array | Float64Array;
}

/**
 * The singular value decomposition `U S V^T` of a product, from its factors, in
 * float64 and without forming it, in `O((in + out) rank^2 + rank^3)`.
 *
 * With the QR decompositions `B = Q_B R_B` and `A^T = Q_A R_A`, the singular
 * values are those of the core `C = R_B R_A^T = W S X^T`, `[rank, rank]`. The
 * orthogonal factors are never formed, since
 *
 *     U sqrt(S) = B (R_A^T X S^-1/2),   sqrt(S) V^T = (S^-1/2 W^T R_B) A
 *
 * holds also where a factor has linearly dependent rows.
 */
export function productSvd({ a, b }: Factors, rank: number) {
  const inputs = a.length / rank;
  const outputs = b.length / rank;
  const rowsOfA = rowsOf(a, inputs);
  const columnsOfB = rowsOf(transpose(b, [outputs, rank]), outputs);
  const ofA = triangularFactor(rowsOfA);
  const ofB = triangularFactor(columnsOfB);
  const core = ofB.map((row) => Float64Array.from(ofA, (it) => dot(row, it)));
  const rounding = Number.EPSILON * sizeOf(ofA) * sizeOf(ofB);
  // The rotations that make C to S X^T make R_B to W^T R_B.
  orthogonalize(core, ofB, rounding);
  const terms = core.map((row, i) => {
    const value = lengthOf(row);
    return value > rank * rounding
      ? { value, toA: ofB[i]!, toB: sumOf(ofA, row.map((it) => it / value)) }
      : { value: 0 };
  }).sort((one, other) => other.value - one.value);

  return {
    /**
     * The singular values, largest first; those that rounding alone would give
     * are zero. `[rank]`
     */
    values: Float64Array.from(terms, ({ value }) => value),
    /**
     * Factors of the best approximation of rank `kept` (Eckart and Young 1936),
     * divided by `scale`: A is `sqrt(S / scale) V^T`, `[kept, in]`, and B is
     * `U sqrt(S / scale)`, `[out, kept]`. The signs, which the decomposition
     * leaves open, are those that make the largest value of each row of A
     * positive.
     */
    factors(kept: number, scale = 1) {
      const factors = {
        a: new Float32Array(kept * inputs),
        b: new Float32Array(outputs * kept),
      };
      terms.slice(0, kept).forEach(({ value, toA, toB }, k) => {
        if (toA === undefined) return;
        const size = 1 / Math.sqrt(value * scale);
        const row = sumOf(rowsOfA, toA.map((it) => it * size));
        const column = sumOf(columnsOfB, toB.map((it) => it * size));
        const largest = row.reduce((most, it) =>
          Math.abs(it) > Math.abs(most) ? it : most
        );
        const sign = largest < 0 ? -1 : 1;
        for (let i = 0; i < inputs; i++) {
          factors.a[k * inputs + i] = sign * row[i]!;
        }
        for (let i = 0; i < outputs; i++) {
          factors.b[i * kept + k] = sign * column[i]!;
        }
      });
      return factors;
    },
  };
}

/** The rows of a matrix, each in memory of its own. */
function rowsOf(values: Factors["a"], length: number): Float64Array[] {
  return Array.from(
    { length: values.length / length },
    (_, k) => new Float64Array(values.subarray(k * length, (k + 1) * length)),
  );
}

/**
 * The factor R, upper triangular, of the QR decomposition of the matrix with
 * these columns, by modified Gram-Schmidt: as exact as that of Householder's
 * reflections (Björck 1967), since the orthogonal factor is not used.
 */
function triangularFactor(columns: readonly Float64Array[]): Float64Array[] {
  const left = columns.map((column) => column.slice());
  const r = left.map(() => new Float64Array(left.length));
  left.forEach((column, j) => {
    const length = lengthOf(column);
    if (length === 0) return;
    r[j]![j] = length;
    for (let i = 0; i < column.length; i++) column[i]! /= length;
    for (let k = j + 1; k < left.length; k++) {
      const part = dot(column, left[k]!);
      r[j]![k] = part;
      addTo(left[k]!, -part, column);
    }
  });
  return r;
}

/** Maximum number of sweeps; ten are usual. */
const SWEEPS = 60;

/**
 * Makes the rows of a square matrix orthogonal by rotations of two at a time
 * (Hestenes 1958), which finds small singular values as exactly as large ones.
 *
 * @param others Rows that are rotated with them
 * @param zero Rows up to this length are left as they are
 */
function orthogonalize(
  rows: readonly Float64Array[],
  others: readonly Float64Array[],
  zero: number,
): void {
  const size = rows.length;
  let rotated = true;
  for (let sweep = 0; rotated && sweep < SWEEPS; sweep++) {
    rotated = false;
    const squares = rows.map((row) => dot(row, row));
    for (let p = 0; p < size - 1; p++) {
      for (let q = p + 1; q < size; q++) {
        const product = dot(rows[p]!, rows[q]!);
        const first = squares[p]!;
        const second = squares[q]!;
        if (Math.min(first, second) <= zero ** 2) continue;
        const limit = size * Number.EPSILON * Math.sqrt(first * second);
        if (!(Math.abs(product) > limit)) continue;
        rotated = true;
        const zeta = (second - first) / (2 * product);
        const tangent = (zeta < 0 ? -1 : 1) /
          (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
        rotate(rows[p]!, rows[q]!, tangent);
        rotate(others[p]!, others[q]!, tangent);
        squares[p] = Math.max(0, first - tangent * product);
        squares[q] = second + tangent * product;
      }
    }
  }
}

/** Rotates two vectors by an angle in their plane. */
function rotate(x: Float64Array, y: Float64Array, tangent: number): void {
  const cosine = 1 / Math.sqrt(1 + tangent * tangent);
  const sine = cosine * tangent;
  for (let i = 0; i < x.length; i++) {
    const a = x[i]!;
    const b = y[i]!;
    x[i] = cosine * a - sine * b;
    y[i] = sine * a + cosine * b;
  }
}

/** Weighted sum of vectors. */
function sumOf(
  vectors: readonly Float64Array[],
  weights: Float64Array,
): Float64Array {
  const sum = new Float64Array(vectors[0]!.length);
  vectors.forEach((vector, k) => addTo(sum, weights[k]!, vector));
  return sum;
}

/** Frobenius norm of a matrix. */
function sizeOf(rows: readonly Float64Array[]): number {
  return Math.sqrt(rows.reduce((sum, row) => sum + dot(row, row), 0));
}
