import { AttributeType, DataType } from "./tensors.ts";
import type { Attribute } from "./attributes.ts";

/** How matrix products are computed: in float32, or in bfloat16 with float32 sums. */
export type Precision = "f32" | "bf16";

/** Products: their inputs are cast to bfloat16. */
const products = new Set(["MatMul", "BatchMatMulV2"]);

/** Operations that only move values: they pass bfloat16 through when all their inputs have it. */
const movers = new Set([
  "ConcatV2",
  "ExpandDims",
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
 * The element type in which an operation takes its floating-point inputs
 * under mixed precision: the idea of `torch.autocast`, at the binding. Sums,
 * softmax, statistics, loss and optimizer stay in float32.
 */
export function inputType(
  opName: string,
  floatInputs: readonly number[],
): DataType {
  if (products.has(opName)) return DataType.bfloat16;
  if (
    movers.has(opName) &&
    floatInputs.every((dtype) => dtype === DataType.bfloat16)
  ) {
    return DataType.bfloat16;
  }
  return DataType.float32;
}

/** The attributes of an operation with its element type `from` replaced. */
export function withType(
  attributes: readonly Attribute[],
  from: number,
  to: number,
): Attribute[] {
  return attributes.map((attribute) =>
    attribute.type === AttributeType.type && attribute.name === "T" &&
      attribute.value === from
      ? { ...attribute, value: to }
      : attribute
  );
}

/** The attributes of a cast whose input is held in another element type than tfjs knows of. */
export function withSource(
  attributes: readonly Attribute[],
  source: number,
): Attribute[] {
  return attributes.map((attribute) =>
    attribute.type === AttributeType.type && attribute.name === "SrcT"
      ? { ...attribute, value: source }
      : attribute
  );
}
