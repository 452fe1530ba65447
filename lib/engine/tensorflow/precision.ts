import type { Attribute } from "./attributes.ts";
import { AttributeType, DataType } from "./tensors.ts";

/** How matrix products are computed: in float32, or in bfloat16 with float32 sums. */
export type Precision = "f32" | "bf16";

/** Matrix products: their inputs are cast to bfloat16. */
const PRODUCTS = new Set(["MatMul", "BatchMatMulV2"]);

/** Operations that only move values: they stay in bfloat16 if all their inputs are. */
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
 * The type to which mixed precision casts the floating-point inputs of an
 * operation, as `torch.autocast` does. Sums, softmax, statistics, loss and
 * optimizer stay in float32.
 */
export function inputType(
  opName: string,
  floatInputs: readonly number[],
): DataType {
  if (PRODUCTS.has(opName)) return DataType.bfloat16;
  if (
    MOVES.has(opName) &&
    floatInputs.every((dtype) => dtype === DataType.bfloat16)
  ) {
    return DataType.bfloat16;
  }
  return DataType.float32;
}

/** The attributes of an operation with some of its element types changed, where tfjs assumes float32. */
export function withType(
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
