import { cString, int64Bytes, type LibTensorflow } from "./c_api.ts";
import { AttributeType } from "./tensors.ts";

/** An attribute of an operation, in the form that tfjs passes it. */
export interface Attribute {
  readonly name: string;
  /** One of {@linkcode AttributeType}. */
  readonly type: number;
  /** A value, or a list of values; a shape is a list of sizes. */
  readonly value: unknown;
}

/** An attribute that is an element type. */
export function typeAttribute(name: string, dtype: number): Attribute {
  return { name, type: AttributeType.type, value: dtype };
}

/**
 * Sets the attributes of an operation: an eager one, or a node of a graph,
 * whose functions have the same parameters, but for those of shapes.
 *
 * @throws {TypeError} If an attribute is of an unknown type, or its value does
 * not fit its type.
 */
export function setAttributes(
  library: LibTensorflow,
  of: "TFE_Op" | "TF_",
  op: Deno.PointerValue,
  opName: string,
  attributes: readonly Attribute[],
): void {
  for (const attribute of attributes) {
    if (setAttribute(library, of, op, attribute)) continue;
    const { name, type, value } = attribute;
    throw new TypeError(
      `Attribute "${name}" of operation "${opName}" is ${
        JSON.stringify(value)
      }, which is no value of attribute type ${type}`,
    );
  }
}

/**
 * Sets an attribute; false if its value does not fit its type, or the type is
 * unknown.
 */
function setAttribute(
  library: LibTensorflow,
  of: "TFE_Op" | "TF_",
  op: Deno.PointerValue,
  { name, type, value }: Attribute,
): boolean {
  const key = cString(name);
  const isList = Array.isArray(value);
  const values: readonly unknown[] = isList ? value : [value];
  const count = values.length;
  if (type === AttributeType.string) {
    if (!values.every((it) => typeof it === "string")) return false;
    const texts = values.map((it) => new TextEncoder().encode(it));
    const lengths = BigUint64Array.from(texts, ({ length }) => BigInt(length));
    if (!isList) {
      library[`${of}SetAttrString`](op, key, texts[0]!, lengths[0]!);
      return true;
    }
    const addresses = BigUint64Array.from(
      texts,
      (text) => Deno.UnsafePointer.value(Deno.UnsafePointer.of(text)),
    );
    const from = bytesOf(addresses);
    library[`${of}SetAttrStringList`](op, key, from, bytesOf(lengths), count);
    return true;
  }
  if (type === AttributeType.bool) {
    // tfjs passes undefined where a caller of its functions left an option out.
    const bytes = Uint8Array.from(values, (it) => it ? 1 : 0);
    if (isList) library[`${of}SetAttrBoolList`](op, key, bytes, count);
    else library[`${of}SetAttrBool`](op, key, bytes[0]!);
    return true;
  }
  if (!values.every((it) => typeof it === "number")) return false;
  if (type === AttributeType.int) {
    if (isList) {
      library[`${of}SetAttrIntList`](op, key, int64Bytes(values), count);
    } else library[`${of}SetAttrInt`](op, key, BigInt(values[0]!));
  } else if (type === AttributeType.float) {
    const floats = Float32Array.from(values);
    if (isList) {
      library[`${of}SetAttrFloatList`](op, key, bytesOf(floats), count);
    } else library[`${of}SetAttrFloat`](op, key, floats[0]!);
  } else if (type === AttributeType.type) {
    const types = bytesOf(Int32Array.from(values));
    if (isList) library[`${of}SetAttrTypeList`](op, key, types, count);
    else library[`${of}SetAttrType`](op, key, values[0]!);
  } else if (type === AttributeType.shape && isList) {
    const sizes = int64Bytes(values);
    if (of === "TF_") library.TF_SetAttrShape(op, key, sizes, count);
    else {
      library.TFE_OpSetAttrShape(op, key, sizes, count, library.status);
      library.check(`Attribute "${name}"`);
    }
  } else return false;
  return true;
}

function bytesOf({ buffer }: { readonly buffer: ArrayBuffer }) {
  return new Uint8Array(buffer);
}
