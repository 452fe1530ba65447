import { DataType, elementSize } from "./data_type.ts";
import { int64Bytes } from "./attributes.ts";
import type { LibTensorflow } from "./symbols.ts";

/** Number of elements of a tensor of this shape. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/** Values of a tensor, or what writes them where they will stay. */
export type TensorSource =
  | ArrayLike<number>
  | ((memory: Uint8Array<ArrayBuffer>) => void);

/**
 * Makes a `TF_Tensor` and copies values into it, or has them written there.
 *
 * @throws {Error} If the values do not fill the shape.
 */
export function allocateTensor(
  library: LibTensorflow,
  shape: readonly number[],
  dtype: number,
  values: TensorSource,
): Deno.PointerValue {
  const size = elementCount(shape) * elementSize(dtype);
  const write = typeof values === "function"
    ? values
    : copierOf(shape, dtype, size, values);
  const tensor = library.TF_AllocateTensor(
    dtype,
    int64Bytes(shape),
    shape.length,
    BigInt(size),
  );
  if (tensor === null) {
    throw new Error(
      `Out of memory: no ${size} bytes for a tensor of shape [${shape}]`,
    );
  }
  try {
    if (size > 0) write(tensorBytes(library, tensor));
  } catch (error) {
    library.TF_DeleteTensor(tensor);
    throw error;
  }
  return tensor;
}

function copierOf(
  shape: readonly number[],
  dtype: number,
  size: number,
  values: ArrayLike<number>,
): (memory: Uint8Array) => void {
  const bytes = bytesOf(dtype, values);
  if (bytes.byteLength !== size) {
    throw new Error(
      `A tensor of shape [${shape}] and data type ${dtype} takes ${size} bytes, not ${bytes.byteLength}`,
    );
  }
  return (memory) => memory.set(bytes);
}

/** The bytes of a `TF_Tensor`, in place: valid until the tensor is deleted. */
export function tensorBytes(
  library: LibTensorflow,
  tensor: Deno.PointerValue,
): Uint8Array<ArrayBuffer> {
  const size = Number(library.TF_TensorByteSize(tensor));
  const data = library.TF_TensorData(tensor);
  if (size === 0 || data === null) return new Uint8Array(0);
  return new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(data, size));
}

function bytesOf(dtype: number, values: ArrayLike<number>): Uint8Array {
  const typed = dtype === DataType.float32 && !(values instanceof Float32Array)
    ? Float32Array.from(values)
    : (dtype === DataType.bool || dtype === DataType.uint8) &&
        !(values instanceof Uint8Array)
    ? Uint8Array.from(values)
    : ArrayBuffer.isView(values)
    ? values
    : Int32Array.from(values);
  return new Uint8Array(typed.buffer, typed.byteOffset, typed.byteLength);
}
