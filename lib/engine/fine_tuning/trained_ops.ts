import * as tf from "@tensorflow/tfjs-core";
import { libraryBinding, libraryOp } from "../backend.ts";
import type { DropoutSource } from "../ops/dropout.ts";
import { biasGelu } from "../ops/gelu.ts";
import { addAndNorm, type LayerNorm } from "../ops/layer_norm.ts";
import type { Linear } from "../ops/linear.ts";
import { lookUp } from "../ops/look_up.ts";
import { AttributeType, DataType } from "../tensorflow/tensors.ts";

/** `x W^T + b` with a gradient of all three. */
export function trainedLinear(
  x: tf.Tensor2D,
  { weight, bias }: Linear,
): tf.Tensor2D {
  return tf.add(tf.matMul(x, weight, false, true), bias);
}

/** GELU of `x W^T + b` with a gradient of all three. */
export function trainedGelu(x: tf.Tensor2D, linear: Linear): tf.Tensor2D {
  const bias = tf.zeros([linear.bias.shape[0]]) as tf.Tensor1D;
  return biasGelu(trainedLinear(x, linear), bias);
}

/** `LayerNorm(dropout(x) + residual)` with a gradient of both and of the normalization. */
export function trainedNorm(
  x: tf.Tensor2D,
  residual: tf.Tensor2D,
  { gamma, beta, epsilon }: LayerNorm,
  source: DropoutSource | undefined,
): tf.Tensor2D {
  const zeros = tf.zeros(beta.shape) as tf.Tensor1D;
  const plain = {
    gamma: tf.ones(gamma.shape) as tf.Tensor1D,
    beta: zeros,
    epsilon,
  };
  const normalized = addAndNorm(x, zeros, residual, plain, source);
  return tf.add(tf.mul(normalized, gamma), beta);
}

/**
 * Rows of a table with a gradient of the table: each row's is the sum over the
 * places where it was looked up.
 *
 * @param table `[rows, hidden]`
 * @param ids int32 `[batch, seq]`
 * @returns `[batch * seq, hidden]`
 */
export function lookUpTrained(
  table: tf.Tensor2D,
  ids: tf.Tensor2D,
): tf.Tensor2D {
  return tf.customGrad((input) => ({
    value: lookUp(input as tf.Tensor2D, ids),
    gradFunc: (dy: tf.Tensor) =>
      sumByRow(dy as tf.Tensor2D, tf.reshape(ids, [-1]), table.shape[0]),
  }))(table) as tf.Tensor2D;
}

/** Sums of the values of each row: `[n, hidden]` and int32 `[n]` -> `[rows, hidden]`. */
function sumByRow(
  values: tf.Tensor2D,
  row: tf.Tensor1D,
  rows: number,
): tf.Tensor2D {
  const binding = libraryBinding();
  // A GPU would add in an order that changes from run to run, and other engines lack the kernel.
  if (binding === undefined || binding.isUsingGpuDevice()) {
    // RoBERTa has a single token type, and a one-hot vector has two places or more.
    const places = tf.oneHot(row, Math.max(rows, 2)) as tf.Tensor2D;
    return tf.slice(tf.matMul(places, values, true), [0, 0], [
      rows,
      values.shape[1],
    ]) as tf.Tensor2D;
  }
  return libraryOp("UnsortedSegmentSum", [
    { name: "T", type: AttributeType.type, value: DataType.float32 },
    { name: "Tindices", type: AttributeType.type, value: DataType.int32 },
    { name: "Tnumsegments", type: AttributeType.type, value: DataType.int32 },
  ], [values, row, tf.scalar(rows, "int32")])[0] as tf.Tensor2D;
}
