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

/** Types of attributes of operations, numbered as `TF_AttrType`. */
export const AttributeType = {
  string: 0,
  int: 1,
  float: 2,
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

/** Bytes of an element of each type, and the typed array that tfjs has for values of it. */
const ELEMENTS: Readonly<
  Record<number, {
    readonly bytes: number;
    readonly view?:
      | Float32ArrayConstructor
      | Int32ArrayConstructor
      | Uint8ArrayConstructor;
  }>
> = {
  [DataType.bool]: { bytes: 1, view: Uint8Array },
  [DataType.bfloat16]: { bytes: 2 },
  [DataType.float32]: { bytes: 4, view: Float32Array },
  [DataType.int32]: { bytes: 4, view: Int32Array },
};

function elementOf(dtype: number) {
  const found = ELEMENTS[dtype];
  if (found !== undefined) return found;
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
  const size = elementCount(shape) * elementOf(dtype).bytes;
  const bytes = typeof values === "function"
    ? undefined
    : bytesOf(dtype, values);
  if (bytes !== undefined && bytes.length !== size) {
    throw new Error(
      `A tensor of shape [${shape}] and data type ${dtype} takes ${size} bytes, got ${bytes.length}`,
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
  if (bytes !== undefined) memory.set(bytes);
  else if (typeof values === "function") values(memory);
  return tensor;
}

function bytesOf(dtype: number, values: ArrayLike<number>): Uint8Array {
  const View = elementOf(dtype).view;
  const typed = View !== undefined && !(values instanceof View)
    ? View.from(values)
    : values as ArrayLike<number> & ArrayBufferView;
  return new Uint8Array(typed.buffer, typed.byteOffset, typed.byteLength);
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
  if (dtype === DataType.bfloat16) return fromBfloat16(new Uint16Array(bytes));
  const View = elementOf(dtype).view;
  if (View !== undefined) return new View(bytes);
  throw new Error(`Cannot read a tensor of data type ${dtype}`);
}
