import { DataType, elementSize } from "./data_type.ts";
import { int64Bytes } from "./attributes.ts";
import type { LibTensorflow } from "./symbols.ts";

/** Number of elements of a tensor of this shape. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/**
 * Makes a `TF_Tensor` and copies values into it.
 *
 * @throws {Error} If the values do not fill the shape.
 */
export function allocateTensor(
  library: LibTensorflow,
  shape: readonly number[],
  dtype: number,
  values: ArrayLike<number>,
): Deno.PointerValue {
  const size = elementCount(shape) * elementSize(dtype);
  const bytes = bytesOf(dtype, values);
  if (bytes.byteLength !== size) {
    throw new Error(
      `A tensor of shape [${shape}] and data type ${dtype} takes ${size} bytes, not ${bytes.byteLength}`,
    );
  }
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
  if (size > 0) tensorBytes(library, tensor).set(bytes);
  return tensor;
}

/** The bytes of a `TF_Tensor`, in place: valid until the tensor is deleted. */
export function tensorBytes(
  library: LibTensorflow,
  tensor: Deno.PointerValue,
): Uint8Array {
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
