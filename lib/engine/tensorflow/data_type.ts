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
export function elementSize(dtype: number): number {
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
