import { elementCount, fromBfloat16 } from "../safetensors/reader.ts";
import { int64Bytes, type LibTensorflow } from "./c_api.ts";

/** Element types that the engine uses, numbered as `TF_DataType` in libtensorflow's `tf_datatype.h`. */
export const DataType = {
  float32: 1,
  int32: 3,
  bool: 10,
  bfloat16: 14,
} as const;

export type DataType = typeof DataType[keyof typeof DataType];

/** Types of attributes of the engine's operations, numbered as `TF_AttrType`. */
export const AttributeType = {
  int: 1,
  bool: 3,
  type: 4,
} as const;

/** Shape and element type of a tensor. */
export interface TensorType {
  readonly shape: number[];
  readonly dtype: number;
}

/** True for the floating-point types that mixed precision converts between. */
export function isFloat(dtype: number): boolean {
  return dtype === DataType.float32 || dtype === DataType.bfloat16;
}

/** The typed arrays of the values of each type; for bfloat16, of their bits. */
const VIEWS = {
  [DataType.float32]: Float32Array,
  [DataType.int32]: Int32Array,
  [DataType.bool]: Uint8Array,
  [DataType.bfloat16]: Uint16Array,
};

function viewOf(dtype: number) {
  if (dtype in VIEWS) return VIEWS[dtype as DataType];
  throw new Error(`Tensors of data type ${dtype} are not supported`);
}

/** Values of a tensor, or a function that writes them into the tensor's memory. */
export type TensorSource =
  | ArrayLike<number>
  | ((memory: Uint8Array<ArrayBuffer>) => void);

/**
 * Allocates a `TF_Tensor` and fills it.
 *
 * @throws {Error} If the values do not fit the shape, or memory runs out.
 */
export function allocateTensor(
  library: LibTensorflow,
  shape: readonly number[],
  dtype: number,
  values: TensorSource,
): Deno.PointerValue {
  const View = viewOf(dtype);
  const size = elementCount(shape) * View.BYTES_PER_ELEMENT;
  const given = typeof values === "function" || values instanceof View
    ? values
    : View.from(values);
  if (typeof given !== "function" && given.byteLength !== size) {
    throw new Error(
      `A tensor of shape [${shape}] and data type ${dtype} takes ${size} bytes, got ${given.byteLength}`,
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
      `Out of memory: cannot allocate ${size} bytes for a tensor of shape [${shape}]`,
    );
  }
  const memory = tensorBytes(library, tensor);
  if (typeof given === "function") given(memory);
  else memory.set(new Uint8Array(given.buffer, given.byteOffset, size));
  return tensor;
}

/** The memory of a `TF_Tensor`, valid until the tensor is deleted. */
export function tensorBytes(
  library: LibTensorflow,
  tensor: Deno.PointerValue,
): Uint8Array<ArrayBuffer> {
  const size = Number(library.TF_TensorByteSize(tensor));
  const data = library.TF_TensorData(tensor);
  if (size === 0 || data === null) return new Uint8Array(0);
  return new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(data, size));
}

/** A tensor's bytes as the typed array that tfjs expects, those of bfloat16 as float32. */
export function valuesOf(
  dtype: number,
  bytes: ArrayBuffer,
): Float32Array | Int32Array | Uint8Array {
  const values = new (viewOf(dtype))(bytes);
  return values instanceof Uint16Array ? fromBfloat16(values) : values;
}
