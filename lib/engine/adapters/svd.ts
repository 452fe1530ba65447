/** Two factors of a product `B A`, row-major. */
interface Factors {
  /** `[rank, in]` */
  readonly a: Float32Array | Float64Array;
  /** `[out, rank]` */
  readonly b: Float32Array | Float64Array;
}

/** The singular value decomposition of a product `B A = U S V^T`. */
export interface ProductSvd {
  /** The singular values, largest first; those that rounding alone would give are zero. `[rank]` */
  readonly values: Float64Array;
  /**
   * Factors of the best approximation of rank `kept` (Eckart and Young 1936),
   * divided by `scale`: A is `sqrt(S / scale) V^T`, `[kept, in]`, and B is
   * `U sqrt(S / scale)`, `[out, kept]`. The signs, which the decomposition
   * leaves open, are those that make the largest value of each row of A
   * positive.
   */
  factors(kept: number, scale?: number): {
    readonly a: Float32Array<ArrayBuffer>;
    readonly b: Float32Array<ArrayBuffer>;
  };
}

/**
 * Decomposes a product from its factors, in float64 and without forming it, in
 * `O((in + out) rank^2 + rank^3)`.
 *
 * With the QR decompositions `B = Q_B R_B` and `A^T = Q_A R_A`, the singular
 * values are those of the core `C = R_B R_A^T = W S X^T`, `[rank, rank]`. The
 * orthogonal factors are never formed, since
 *
 *     U sqrt(S) = B (R_A^T X S^-1/2),   sqrt(S) V^T = (S^-1/2 W^T R_B) A
 *
 * holds also where a factor has linearly dependent rows.
 */
export function productSvd({ a, b }: Factors, rank: number): ProductSvd {
  const [inputs, outputs] = [a.length / rank, b.length / rank];
  const ofA = triangularFactor(a, rank, inputs, { vector: inputs, element: 1 });
  const ofB = triangularFactor(b, rank, outputs, { vector: 1, element: rank });
  const core = new Float64Array(rank * rank);
  for (let i = 0; i < rank; i++) {
    for (let j = 0; j < rank; j++) {
      let sum = 0;
      for (let k = Math.max(i, j); k < rank; k++) {
        sum += ofB[i * rank + k]! * ofA[j * rank + k]!;
      }
      core[i * rank + j] = sum;
    }
  }
  const noise = rank * Number.EPSILON * norm(ofA) * norm(ofB);
  const { left, values, right } = squareSvd(core, rank, noise);

  return {
    values,
    factors(kept, scale = 1) {
      // Rows that multiply A, and columns that multiply B, as rows.
      const toA = new Float64Array(kept * rank);
      const toB = new Float64Array(kept * rank);
      for (let k = 0; k < kept; k++) {
        if (values[k] === 0) continue;
        const factor = 1 / Math.sqrt(values[k]! * scale);
        for (let i = 0; i < rank; i++) {
          const w = factor * left[k * rank + i]!;
          const x = factor * right[k * rank + i]!;
          for (let j = i; j < rank; j++) {
            toA[k * rank + j]! += w * ofB[i * rank + j]!;
            toB[k * rank + j]! += x * ofA[i * rank + j]!;
          }
        }
      }
      const rows = rowsTimes(toA, kept, a, rank, inputs);
      const columns = timesColumns(b, outputs, rank, toB, kept);
      return withPositiveRows(rows, columns, kept);
    },
  };
}

/** Elements of each vector that are reduced at a time, so that they stay in the processor's cache. */
const CHUNK = 256;

/**
 * The factor R, upper triangular, `[rank, rank]`, of the QR decomposition of the
 * matrix with these columns, by Householder's reflections. R is updated chunk
 * by chunk of the rows (TSQR, arXiv 0808.2664), which is as stable as
 * decomposing all rows at once.
 *
 * @param count Elements of a vector
 * @param strides Distances in `values` between vectors, and between elements of one
 */
function triangularFactor(
  values: Factors["a"],
  rank: number,
  count: number,
  strides: { readonly vector: number; readonly element: number },
): Float64Array {
  const size = Math.min(CHUNK, count);
  const r = new Float64Array(rank * rank);
  const chunk = new Float64Array(rank * size);
  for (let start = 0; start < count; start += size) {
    const filled = Math.min(size, count - start);
    if (filled < size) chunk.fill(0);
    for (let j = 0; j < rank; j++) {
      let from = j * strides.vector + start * strides.element;
      for (let i = 0; i < filled; i++, from += strides.element) {
        chunk[j * size + i] = values[from]!;
      }
    }
    for (let j = 0; j < rank; j++) reflect(r, rank, chunk, size, j);
  }
  return r;
}

/** Reflects vectors j and later in row j of R and the rows of a chunk, so that of vector j only its element of R is left. */
function reflect(
  r: Float64Array,
  rank: number,
  chunk: Float64Array,
  size: number,
  j: number,
): void {
  const own = j * size, row = j * rank;
  let below = 0;
  for (let i = own; i < own + size; i++) below += chunk[i]! * chunk[i]!;
  if (below === 0) return;
  const before = r[row + j]!;
  const length = Math.sqrt(before * before + below);
  const after = before > 0 ? -length : length;
  const head = before - after;
  // The vector of the reflection has 1 in row j; its factor is tau.
  for (let i = own; i < own + size; i++) chunk[i]! /= head;
  r[row + j] = after;
  const tau = -head / after;
  for (let k = j + 1; k < rank; k++) {
    const other = k * size;
    let sum = r[row + k]!;
    for (let i = 0; i < size; i++) sum += chunk[own + i]! * chunk[other + i]!;
    sum *= tau;
    r[row + k]! -= sum;
    for (let i = 0; i < size; i++) chunk[other + i]! -= sum * chunk[own + i]!;
  }
}

/** Maximum number of sweeps; ten are usual. */
const SWEEPS = 60;

/**
 * The singular value decomposition of a square matrix by one-sided rotations of
 * its rows (Hestenes 1958), which finds small singular values as exactly as
 * large ones.
 *
 * @param noise Singular values up to this are zero.
 * @returns Vectors as rows, `[size, size]` each.
 */
function squareSvd(matrix: Float64Array, size: number, noise: number) {
  // Of R instead of the matrix, singular values and right vectors are the same,
  // and the rows are closer to orthogonal.
  const rows = triangularFactor(matrix, size, size, {
    vector: 1,
    element: size,
  });
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    if (!rotateRows(rows, size)) break;
  }
  const norms = Array.from(
    { length: size },
    (_, i) => norm(rows.subarray(i * size, (i + 1) * size)),
  );
  const order = norms.map((_, i) => i).sort((i, j) => norms[j]! - norms[i]!);
  const values = Float64Array.from(
    order,
    (i) => norms[i]! > noise ? norms[i]! : 0,
  );
  const left = new Float64Array(size * size);
  const right = new Float64Array(size * size);
  order.forEach((from, k) => {
    if (values[k] === 0) return;
    const x = right.subarray(k * size, (k + 1) * size);
    const w = left.subarray(k * size, (k + 1) * size);
    for (let i = 0; i < size; i++) x[i] = rows[from * size + i]! / values[k]!;
    for (let i = 0; i < size; i++) {
      w[i] = dot(matrix.subarray(i * size, (i + 1) * size), x);
    }
    // Rounding leaves parts along larger vectors in those of small values.
    for (let other = 0; other < k; other++) {
      const u = left.subarray(other * size, (other + 1) * size);
      const part = dot(u, w);
      for (let i = 0; i < size; i++) w[i]! -= part * u[i]!;
    }
    const length = norm(w);
    for (let i = 0; i < size; i++) w[i]! /= length;
  });
  return { left, values, right };
}

/** Rotates each pair of rows that is not orthogonal; true if there was one. */
function rotateRows(rows: Float64Array, size: number): boolean {
  let rotated = false;
  const squares = Float64Array.from(
    { length: size },
    (_, i) => norm(rows.subarray(i * size, (i + 1) * size)) ** 2,
  );
  for (let p = 0; p < size - 1; p++) {
    for (let q = p + 1; q < size; q++) {
      const i0 = p * size, j0 = q * size;
      let product = 0;
      for (let k = 0; k < size; k++) product += rows[i0 + k]! * rows[j0 + k]!;
      const first = squares[p]!, second = squares[q]!;
      const limit = size * Number.EPSILON * Math.sqrt(first * second);
      if (!(Math.abs(product) > limit)) continue;
      rotated = true;
      const zeta = (second - first) / (2 * product);
      const tangent = (zeta < 0 ? -1 : 1) /
        (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
      const cosine = 1 / Math.sqrt(1 + tangent * tangent);
      const sine = cosine * tangent;
      for (let k = 0; k < size; k++) {
        const x = rows[i0 + k]!, y = rows[j0 + k]!;
        rows[i0 + k] = cosine * x - sine * y;
        rows[j0 + k] = sine * x + cosine * y;
      }
      squares[p] = Math.max(0, first - tangent * product);
      squares[q] = second + tangent * product;
    }
  }
  return rotated;
}

/** `left right`, with `left` `[count, rank]` and `right` `[rank, width]`. */
function rowsTimes(
  left: Float64Array,
  count: number,
  right: Factors["a"],
  rank: number,
  width: number,
): Float32Array<ArrayBuffer> {
  const product = new Float32Array(count * width);
  const chunk = new Float64Array(rank * CHUNK);
  const sums = new Float64Array(CHUNK);
  for (let start = 0; start < width; start += CHUNK) {
    const size = Math.min(CHUNK, width - start);
    for (let j = 0; j < rank; j++) {
      for (let i = 0; i < size; i++) {
        chunk[j * CHUNK + i] = right[j * width + start + i]!;
      }
    }
    for (let k = 0; k < count; k++) {
      sums.fill(0);
      for (let j = 0; j < rank; j++) {
        const factor = left[k * rank + j]!;
        const from = j * CHUNK;
        for (let i = 0; i < CHUNK; i++) sums[i]! += factor * chunk[from + i]!;
      }
      product.set(sums.subarray(0, size), k * width + start);
    }
  }
  return product;
}

/** `left right^T`, with `left` `[count, rank]` and `right` `[width, rank]`. */
function timesColumns(
  left: Factors["b"],
  count: number,
  rank: number,
  right: Float64Array,
  width: number,
): Float32Array<ArrayBuffer> {
  const product = new Float32Array(count * width);
  const row = new Float64Array(rank);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < rank; j++) row[j] = left[i * rank + j]!;
    for (let k = 0; k < width; k++) {
      let sum = 0;
      const from = k * rank;
      for (let j = 0; j < rank; j++) sum += row[j]! * right[from + j]!;
      product[i * width + k] = sum;
    }
  }
  return product;
}

/** The factors with the signs that {@linkcode ProductSvd.factors} promises. */
function withPositiveRows(
  a: Float32Array<ArrayBuffer>,
  b: Float32Array<ArrayBuffer>,
  rank: number,
) {
  const inputs = a.length / rank;
  for (let k = 0; k < rank; k++) {
    const row = a.subarray(k * inputs, (k + 1) * inputs);
    let largest = 0;
    for (const value of row) {
      if (Math.abs(value) > Math.abs(largest)) largest = value;
    }
    if (largest >= 0) continue;
    for (let i = 0; i < inputs; i++) row[i] = -row[i]!;
    for (let i = k; i < b.length; i += rank) b[i] = -b[i]!;
  }
  return { a, b };
}

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!;
  return sum;
}

/** Length of a vector, or Frobenius norm of a matrix. */
function norm(values: Float64Array): number {
  return Math.sqrt(dot(values, values));
}
