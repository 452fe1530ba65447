import { AttributeType } from "./tensors.ts";
import { cString, type LibTensorflow, type Status } from "./c_api.ts";

/** An attribute of an operation, as tfjs gives it. */
export interface Attribute {
  readonly name: string;
  /** One of {@linkcode AttributeType}. */
  readonly type: number;
  readonly value: unknown;
}

const encoder = new TextEncoder();

/** The setters of an eager operation, or those of a node of a graph: same order, same meaning. */
interface Setters {
  string(
    op: Deno.PointerValue,
    name: Bytes,
    value: Bytes,
    length: bigint,
  ): void;
  int(op: Deno.PointerValue, name: Bytes, value: bigint): void;
  intList(
    op: Deno.PointerValue,
    name: Bytes,
    values: Bytes,
    count: number,
  ): void;
  float(op: Deno.PointerValue, name: Bytes, value: number): void;
  bool(op: Deno.PointerValue, name: Bytes, value: number): void;
  type(op: Deno.PointerValue, name: Bytes, value: number): void;
  shape(op: Deno.PointerValue, name: Bytes, dims: Bytes, rank: number): void;
}
type Bytes = Uint8Array<ArrayBuffer>;

export function eagerSetters(library: LibTensorflow, status: Status): Setters {
  return {
    string: library.TFE_OpSetAttrString,
    int: library.TFE_OpSetAttrInt,
    intList: library.TFE_OpSetAttrIntList,
    float: library.TFE_OpSetAttrFloat,
    bool: library.TFE_OpSetAttrBool,
    type: library.TFE_OpSetAttrType,
    shape: (op, name, dims, rank) => {
      library.TFE_OpSetAttrShape(op, name, dims, rank, status.pointer);
      status.check("Set a shape attribute");
    },
  };
}

export function graphSetters(library: LibTensorflow): Setters {
  return {
    string: library.TF_SetAttrString,
    int: library.TF_SetAttrInt,
    intList: library.TF_SetAttrIntList,
    float: library.TF_SetAttrFloat,
    bool: library.TF_SetAttrBool,
    type: library.TF_SetAttrType,
    shape: library.TF_SetAttrShape,
  };
}

/**
 * Sets attributes on an operation.
 *
 * @throws {Error} For an attribute of a type that the engine's kernels do not use.
 */
export function setAttributes(
  setters: Setters,
  op: Deno.PointerValue,
  opName: string,
  attributes: readonly Attribute[],
): void {
  for (const { name, type, value } of attributes) {
    const key = cString(name);
    if (type === AttributeType.type && typeof value === "number") {
      setters.type(op, key, value);
    } else if (type === AttributeType.bool) {
      setters.bool(op, key, value ? 1 : 0);
    } else if (type === AttributeType.int && Array.isArray(value)) {
      setters.intList(op, key, int64Bytes(value), value.length);
    } else if (type === AttributeType.int) {
      setters.int(op, key, BigInt(value as number));
    } else if (type === AttributeType.float) {
      setters.float(op, key, value as number);
    } else if (type === AttributeType.string) {
      const bytes = encoder.encode(value as string);
      setters.string(op, key, bytes, BigInt(bytes.length));
    } else if (type === AttributeType.shape && Array.isArray(value)) {
      setters.shape(op, key, int64Bytes(value), value.length);
    } else {
      throw new Error(
        `Attribute "${name}" of operation "${opName}" has type ${type}, which the engine does not set`,
      );
    }
  }
}

/** Whole numbers as the bytes of `int64_t[]`. */
export function int64Bytes(values: readonly number[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
}
