import * as tf from "@tensorflow/tfjs-core";
import { libraryBinding, libraryOp } from "../backend.ts";
import { DataType } from "../tensorflow/tensors.ts";
import { withGradient } from "./gradient.ts";

/**
 * Rows of a table, with its own gradient: each row's is the sum over the places
 * where it was looked up.
 *
 * @param table `[rows, hidden]`
 * @param ids int32 `[batch, seq]`
 * @returns `[batch * seq, hidden]`
 */
export function lookUp(table: tf.Tensor2D, ids: tf.Tensor2D): tf.Tensor2D {
  const [rows] = table.shape;
  const flat: tf.Tensor1D = ids.reshape([-1]);
  return withGradient(
    { table },
    () => ({ value: gather(table, flat), flat }),
    (dy, { flat }) => ({ table: sumByRow(dy as tf.Tensor2D, flat, rows) }),
  ) as tf.Tensor2D;
}

/** tfjs-node's own kernel reads the ids to check them, which cannot be traced; the library checks them as well. */
export function gather(table: tf.Tensor, ids: tf.Tensor1D): tf.Tensor {
  if (libraryBinding() === undefined) return tf.gather(table, ids);
  const { float32, int32 } = DataType;
  const types = { Tparams: float32, Tindices: int32, Taxis: int32 };
  return libraryOp("GatherV2", types, [table, ids, tf.scalar(0, "int32")]);
}

/** Sums of the values of each row: `[n, hidden]` and int32 `[n]` -> `[rows, hidden]`. */
export function sumByRow(
  values: tf.Tensor2D,
  row: tf.Tensor1D,
  rows: number,
): tf.Tensor2D {
  const binding = libraryBinding();
  // A GPU would add in an order that changes from run to run, and other engines lack the kernel.
  if (binding === undefined || binding.isUsingGpuDevice()) {
    // Some models have a single token type, and a one-hot vector needs two places or more.
    const places = tf.oneHot(row, Math.max(rows, 2)) as tf.Tensor2D;
    return tf.matMul<tf.Tensor2D>(places, values, true)
      .slice([0, 0], [rows, values.shape[1]]);
  }
  const { float32, int32 } = DataType;
  const types = { T: float32, Tindices: int32, Tnumsegments: int32 };
  const inputs = [values, row, tf.scalar(rows, "int32")];
  return libraryOp("UnsortedSegmentSum", types, inputs) as tf.Tensor2D;
}
