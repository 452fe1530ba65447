import * as tf from "@tensorflow/tfjs-core";
import { libraryBinding, libraryOp } from "../backend.ts";
import { AttributeType, DataType } from "../tensorflow/tensors.ts";

/**
 * Rows of a frozen table. (tfjs-node's own kernel reads the ids to check
 * them, which cannot be traced; the library checks them as well.)
 *
 * @param table `[rows, hidden]`
 * @param ids int32 `[batch, seq]`
 * @returns `[batch * seq, hidden]`
 */
export function lookUp(table: tf.Tensor2D, ids: tf.Tensor2D): tf.Tensor2D {
  const flat = tf.reshape(ids, [-1]);
  if (libraryBinding() === undefined) {
    return tf.gather(table, flat) as tf.Tensor2D;
  }
  return libraryOp("GatherV2", [
    { name: "Tparams", type: AttributeType.type, value: DataType.float32 },
    { name: "Tindices", type: AttributeType.type, value: DataType.int32 },
    { name: "Taxis", type: AttributeType.type, value: DataType.int32 },
  ], [table, flat, tf.scalar(0, "int32")])[0] as tf.Tensor2D;
}
