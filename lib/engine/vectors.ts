type Vector = Float64Array | Float32Array;

/** Scalar product, over as many values as the first vector has. */
export function dot(x: Vector, y: Vector): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!;
  return sum;
}

/** Length of a vector. */
export function lengthOf(vector: Vector): number {
  return Math.sqrt(dot(vector, vector));
}

/** Adds `factor * vector` in place. */
export function addTo(sum: Float64Array, factor: number, vector: Vector): void {
  for (let i = 0; i < sum.length; i++) sum[i]! += factor * vector[i]!;
}

/** Row-major `[rows, columns]` -> `[columns, rows]`. */
export function transpose<T extends Vector | Int8Array>(
  values: T,
  [rows, columns]: readonly number[],
): T {
  const transposed = values.slice() as T;
  for (let row = 0; row < rows!; row++) {
    for (let column = 0; column < columns!; column++) {
      transposed[column * rows! + row] = values[row * columns! + column]!;
    }
  }
  return transposed;
}
