import * as tf from "@tensorflow/tfjs-core";
import { libraryBinding } from "../backend.ts";
import { trace, type Traced } from "../trace.ts";

let graphSoftmax: Traced | undefined;

/**
 * Softmax over the last axis, without a gradient of its own.
 *
 * The library computes it by oneDNN in graphs and by Eigen operation by
 * operation, which differ in the last bit: here it is always a graph's.
 */
export function softmax<T extends tf.Tensor>(scores: T): T {
  if (libraryBinding() === undefined) return tf.softmax(scores);
  graphSoftmax ??= trace(([x]) => [tf.softmax(x!)]);
  return graphSoftmax([scores])[0] as T;
}
