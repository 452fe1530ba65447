import { elementCount, fromBfloat16 } from "../safetensors/reader.ts";
import { int64Bytes, type LibTensorflow } from "./c_api.ts";

/**
 * Element types of the engine (float32, int32, bool, bfloat16) and of the other
 * kernels of tfjs-node, numbered as `TF_DataType` in libtensorflow's
 * `tf_datatype.h`.
 */
export const DataType = {
  float32: 1,
  int32: 3,
  uint8: 4,
  string: 7,
  complex64: 8,
  int64: 9,
  bool: 10,
  bfloat16: 14,
  resource: 20,
} as const;

export type DataType = typeof DataType[keyof typeof DataType];

/**
 * Types of attributes, numbered as `TF_AttrType` in libtensorflow's
 * `tf_attrtype.h`.
 */
export const AttributeType = {
  string: 0,
  int: 1,
  float: 2,
  bool: 3,
  type: 4,
  shape: 5,
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

/**
 * The typed arrays of the values of each type, and their number for each value:
 * complex numbers are pairs, and tfjs-node passes int64 as two halves, the
 * lower first. Of bfloat16, they have the bits.
 */
const STORAGE = {
  [DataType.float32]: { View: Float32Array, perValue: 1 },
  [DataType.int32]: { View: Int32Array, perValue: 1 },
  [DataType.uint8]: { View: Uint8Array, perValue: 1 },
  [DataType.complex64]: { View: Float32Array, perValue: 2 },
  [DataType.int64]: { View: Int32Array, perValue: 2 },
  [DataType.bool]: { View: Uint8Array, perValue: 1 },
  [DataType.bfloat16]: { View: Uint16Array, perValue: 1 },
} as const;

function storageOf(dtype: number) {
  if (dtype in STORAGE) return STORAGE[dtype as keyof typeof STORAGE];
  throw new Error(`Tensors of data type ${dtype} are not supported`);
}

/**
 * Values of a tensor, or a function that writes them into the tensor's memory.
 */
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
  const { View, perValue } = storageOf(dtype);
  const size = elementCount(shape) * perValue * View.BYTES_PER_ELEMENT;
  const source = typeof values === "function" || values instanceof View
    ? values
    : View.from(values);
  if (typeof source !== "function" && source.byteLength !== size) {
    throw new Error(
      `A tensor of shape [${shape}] and data type ${dtype} takes ${size} bytes, got ${source.byteLength}`,
    );
  }
  const tensor = allocate(library, shape, dtype, size);
  const memory = tensorBytes(library, tensor);
  if (typeof source === "function") source(memory);
  else memory.set(new Uint8Array(source.buffer, source.byteOffset, size));
  return tensor;
}

function allocate(
  library: LibTensorflow,
  shape: readonly number[],
  dtype: number,
  size: number,
): Deno.PointerValue {
  const tensor = library.TF_AllocateTensor(
    dtype,
    int64Bytes(shape),
    shape.length,
    BigInt(size),
  );
  if (tensor !== null) return tensor;
  throw new Error(
    `Out of memory: cannot allocate ${size} bytes for a tensor of shape [${shape}]`,
  );
}

/**
 * Bytes of a `TF_TString`, libtensorflow's string of up to 22 bytes or pointer
 * to a longer one.
 */
const STRING_BYTES = 24;

/** Pointers to the `TF_TString`s of a tensor. */
function stringsOf(
  library: LibTensorflow,
  tensor: Deno.PointerValue,
): Deno.PointerValue[] {
  const start = Deno.UnsafePointer.value(library.TF_TensorData(tensor));
  const count = Number(library.TF_TensorByteSize(tensor)) / STRING_BYTES;
  return Array.from(
    { length: count },
    (_, i) => Deno.UnsafePointer.create(start + BigInt(i * STRING_BYTES)),
  );
}

/**
 * Allocates a `TF_Tensor` of strings and fills it. Deleting it does not free
 * them, as {@linkcode freeStrings} does.
 *
 * @throws {Error} If the number of strings does not fit the shape, or memory
 * runs out.
 */
export function allocateStrings(
  library: LibTensorflow,
  shape: readonly number[],
  values: readonly Uint8Array[],
): Deno.PointerValue {
  if (values.length !== elementCount(shape)) {
    throw new Error(
      `A tensor of shape [${shape}] takes ${
        elementCount(shape)
      } strings, got ${values.length}`,
    );
  }
  const size = values.length * STRING_BYTES;
  const tensor = allocate(library, shape, DataType.string, size);
  stringsOf(library, tensor).forEach((string, i) => {
    library.TF_StringInit(string);
    const bytes = Uint8Array.from(values[i]!);
    library.TF_StringCopy(string, bytes, BigInt(bytes.length));
  });
  return tensor;
}

/**
 * Frees the strings of a tensor of {@linkcode allocateStrings}, which nothing
 * else may use.
 */
export function freeStrings(
  library: LibTensorflow,
  tensor: Deno.PointerValue,
): void {
  for (const string of stringsOf(library, tensor)) {
    library.TF_StringDealloc(string);
  }
}

/** Copies the strings out of a tensor. */
export function readStrings(
  library: LibTensorflow,
  tensor: Deno.PointerValue,
): Uint8Array[] {
  return stringsOf(library, tensor).map((string) => {
    const size = Number(library.TF_StringGetSize(string));
    const data = library.TF_StringGetDataPointer(string);
    if (size === 0 || data === null) return new Uint8Array(0);
    return new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(data, size))
      .slice();
  });
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

/** Values of a tensor as tfjs takes them; strings as their bytes. */
export type TensorValues =
  | Float32Array
  | Int32Array
  | Uint8Array
  | BigInt64Array
  | Uint8Array[];

/**
 * A tensor's bytes as the typed array that tfjs expects: those of bfloat16 as
 * float32, of int64 as such.
 */
export function valuesOf(
  dtype: number,
  bytes: ArrayBuffer,
): Exclude<TensorValues, Uint8Array[]> {
  if (dtype === DataType.int64) return new BigInt64Array(bytes);
  const { View } = storageOf(dtype);
  const values = new View(bytes);
  return values instanceof Uint16Array ? fromBfloat16(values) : values;
}
