import type * as tf from "@tensorflow/tfjs-core";
import { engineOps } from "./engine_ops.ts";
import { withGradient } from "./gradient.ts";

/**
 * Rows of a table, with its own gradient: each row's is the sum over the
 * positions where it was looked up.
 *
 * @param table `[rows, hidden]`
 * @param ids int32 `[batch, seq]`
 * @returns `[batch * seq, hidden]`
 */
export function lookUp(table: tf.Tensor2D, ids: tf.Tensor2D): tf.Tensor2D {
  const [rows] = table.shape;
  const flat: tf.Tensor1D = ids.reshape([-1]);
  const { gather, sumByRow } = engineOps();
  return withGradient(
    { table },
    () => ({ value: gather(table, flat), flat }),
    (dy, { flat }) => ({ table: sumByRow(dy as tf.Tensor2D, flat, rows) }),
  ) as tf.Tensor2D;
}
