import type { Attribute } from "./attributes.ts";
import { AttributeType, DataType, isFloat } from "./tensors.ts";

/**
 * How matrix products are computed: in float32, or in bfloat16 with float32
 * sums.
 */
export type Precision = "f32" | "bf16";

/** Matrix products: their inputs are cast to bfloat16. */
const PRODUCTS = new Set(["MatMul", "BatchMatMulV2"]);

/**
 * Operations that only move values: they stay in bfloat16 if all their inputs
 * are.
 */
const MOVES = new Set([
  "ConcatV2",
  "ExpandDims",
  "GatherV2",
  "Identity",
  "Pack",
  "Reshape",
  "Slice",
  "Split",
  "SplitV",
  "Squeeze",
  "StridedSlice",
  "Transpose",
  "Unpack",
]);

/**
 * The attributes of an operation in mixed precision, and the types to which its
 * inputs are cast, as `torch.autocast` does. Sums, softmax, statistics, loss
 * and optimizer stay in float32.
 *
 * @param types Those of its inputs
 */
export function mixedPrecision(
  opName: string,
  attributes: readonly Attribute[],
  types: readonly number[],
): { attributes: readonly Attribute[]; types: readonly number[] } {
  if (opName === "Cast") {
    return { attributes: withType(attributes, ["SrcT"], types[0]!), types };
  }
  const floats = types.filter(isFloat);
  const isNarrow = PRODUCTS.has(opName) ||
    MOVES.has(opName) && floats.every((type) => type === DataType.bfloat16);
  if (floats.length === 0 || !isNarrow) {
    return {
      attributes,
      types: types.map((type) => isFloat(type) ? DataType.float32 : type),
    };
  }
  return {
    attributes: withType(attributes, ["T", "Tparams"], DataType.bfloat16),
    types: types.map((type) => isFloat(type) ? DataType.bfloat16 : type),
  };
}

/**
 * The attributes of an operation with some of its element types changed, where
 * tfjs assumes float32.
 */
function withType(
  attributes: readonly Attribute[],
  names: readonly string[],
  type: number,
): Attribute[] {
  return attributes.map((attribute) =>
    attribute.type === AttributeType.type && names.includes(attribute.name) &&
      attribute.value === DataType.float32
      ? { ...attribute, value: type }
      : attribute
  );
}
