import { cString, int64Bytes, type LibTensorflow } from "./c_api.ts";
import { AttributeType } from "./tensors.ts";

/** An attribute of an operation, in the form that tfjs passes it. */
export interface Attribute {
  readonly name: string;
  /** One of {@linkcode AttributeType}. */
  readonly type: number;
  readonly value: unknown;
}

/** The functions that set attributes; those of eager operations and of graph nodes have the same parameters. */
export type AttributeSetters = ReturnType<typeof eagerSetters>;

/** Setters for eager operations. */
export function eagerSetters(library: LibTensorflow) {
  return {
    string: library.TFE_OpSetAttrString,
    int: library.TFE_OpSetAttrInt,
    intList: library.TFE_OpSetAttrIntList,
    float: library.TFE_OpSetAttrFloat,
    bool: library.TFE_OpSetAttrBool,
    type: library.TFE_OpSetAttrType,
  };
}

/** Setters for nodes of a graph. */
export function graphSetters(library: LibTensorflow): AttributeSetters {
  return {
    string: library.TF_SetAttrString,
    int: library.TF_SetAttrInt,
    intList: library.TF_SetAttrIntList,
    float: library.TF_SetAttrFloat,
    bool: library.TF_SetAttrBool,
    type: library.TF_SetAttrType,
  };
}

const encoder = new TextEncoder();

/**
 * Sets the attributes of an operation.
 *
 * @throws {Error} If an attribute has a type that no kernel of tfjs uses.
 */
export function setAttributes(
  setters: AttributeSetters,
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
    } else {
      throw new Error(
        `Attribute "${name}" of operation "${opName}" has unsupported type ${type}`,
      );
    }
  }
}
