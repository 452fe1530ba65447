import * as tf from "@tensorflow/tfjs-core";
import { COMPILED_SIZE } from "../trace.ts";
import { engineOps } from "./engine_ops.ts";

/** True for values that a compiled loop computes, on a CPU. */
export function isLoop({ size }: tf.Tensor): boolean {
  return engineOps().loops && size >= COMPILED_SIZE;
}

/** Number of slices of a row that are reduced side by side. */
const SLICES = 8;

/** Sum over the last axis, which is kept. */
export function sumOfRow(x: tf.Tensor): tf.Tensor {
  return bySlices(x, tf.sum, tf.add);
}

/** Maximum over the last axis, which is kept. */
export function maxOfRow(x: tf.Tensor): tf.Tensor {
  return bySlices(x, tf.max, tf.maximum);
}

/** Mean over the last axis, which is kept. */
export function meanOfRow(x: tf.Tensor): tf.Tensor {
  return sumOfRow(x).mul(1 / x.shape.at(-1)!);
}

/**
 * Reduces rows. A compiled loop takes the values of a row one after the other,
 * each of which waits for the one before: so slices of a row are first reduced
 * to one.
 */
function bySlices(
  x: tf.Tensor,
  reduce: (x: tf.Tensor, axis: number, keepDims: boolean) => tf.Tensor,
  combine: (a: tf.Tensor, b: tf.Tensor) => tf.Tensor,
): tf.Tensor {
  const width = x.shape.at(-1)!;
  const slice = Math.floor(width / SLICES);
  if (!isLoop(x) || slice === 0) return reduce(x, -1, true);
  const sizes = [width % SLICES, ...Array<number>(SLICES).fill(slice)];
  const [rest, ...slices] = x.split(sizes, -1) as [tf.Tensor, ...tf.Tensor[]];
  const ofSlices = reduce(slices.reduce(combine), -1, true);
  return rest.size === 0 ? ofSlices : combine(ofSlices, reduce(rest, -1, true));
}
