import { int64Bytes } from "./attributes.ts";
import type { LibTensorflow } from "./c_api.ts";

/** Element types, numbered as `TF_DataType` in libtensorflow's `tf_datatype.h`. */
export const DataType = {
  float32: 1,
  int32: 3,
  uint8: 4,
  string: 7,
  complex64: 8,
  int64: 9,
  bool: 10,
  bfloat16: 14,
  uint16: 17,
  half: 19,
  resource: 20,
  uint32: 22,
} as const;

export type DataType = typeof DataType[keyof typeof DataType];

/** Attribute types, numbered as `TF_AttrType`. */
export const AttributeType = {
  string: 0,
  int: 1,
  float: 2,
  bool: 3,
  type: 4,
  shape: 5,
  /** Not of the library: tfjs names it for ops on resources, which this binding refuses. */
  resource: 10,
} as const;

/** Bytes of one element. */
function elementSize(dtype: number): number {
  switch (dtype) {
    case DataType.bool:
    case DataType.uint8:
      return 1;
    case DataType.bfloat16:
    case DataType.half:
    case DataType.uint16:
      return 2;
    case DataType.float32:
    case DataType.int32:
    case DataType.uint32:
      return 4;
    case DataType.int64:
    case DataType.complex64:
      return 8;
    default:
      throw new Error(
        `Tensors of data type ${dtype} are not supported by the engine`,
      );
  }
}

/** A typed view of a tensor's bytes, as tfjs wants it: bfloat16 and text are refused. */
export function viewOf(
  dtype: number,
  bytes: ArrayBuffer,
): Float32Array | Int32Array | Uint8Array {
  switch (dtype) {
    case DataType.float32:
    case DataType.complex64:
      return new Float32Array(bytes);
    case DataType.int32:
      return new Int32Array(bytes);
    case DataType.bool:
    case DataType.uint8:
      return new Uint8Array(bytes);
    default:
      throw new Error(`Tensors of data type ${dtype} cannot be read`);
  }
}

/** Number of elements of a tensor of this shape. */
function elementCount(shape: readonly number[]): number {
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
