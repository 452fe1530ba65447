import { cString, int64Bytes, type LibTensorflow } from "./c_api.ts";
import { AttributeType } from "./tensors.ts";

/** An attribute of an operation, in the form that tfjs passes it. */
export interface Attribute {
  readonly name: string;
  /** One of {@linkcode AttributeType}. */
  readonly type: number;
  readonly value: unknown;
}

/** An attribute that is an element type. */
export function typeAttribute(name: string, dtype: number): Attribute {
  return { name, type: AttributeType.type, value: dtype };
}

/**
 * Sets the attributes of an operation: an eager one, or a node of a graph, whose
 * functions have the same parameters.
 *
 * @throws {Error} If an attribute has another type, as of convolutions.
 */
export function setAttributes(
  library: LibTensorflow,
  of: "TFE_Op" | "TF_",
  op: Deno.PointerValue,
  opName: string,
  attributes: readonly Attribute[],
): void {
  for (const { name, type, value } of attributes) {
    const key = cString(name);
    if (type === AttributeType.type && typeof value === "number") {
      library[`${of}SetAttrType`](op, key, value);
    } else if (type === AttributeType.bool) {
      library[`${of}SetAttrBool`](op, key, value ? 1 : 0);
    } else if (type === AttributeType.int && Array.isArray(value)) {
      library[`${of}SetAttrIntList`](op, key, int64Bytes(value), value.length);
    } else if (type === AttributeType.int) {
      library[`${of}SetAttrInt`](op, key, BigInt(value as number));
    } else {
      throw new Error(
        `Attribute "${name}" of operation "${opName}" has unsupported type ${type}`,
      );
    }
  }
}
