import * as tf from "@tensorflow/tfjs-core";
import type { AdamWState } from "./adamw.ts";

/** The optimizer's state in memory; without moments at the start of training. */
export interface StateValues {
  /** Flat, `[size]` */
  readonly values: Float32Array;
  readonly moment1?: Float32Array;
  readonly moment2?: Float32Array;
}

/** The state as tensors; the caller disposes them. */
export function stateTensors(
  { values, moment1, moment2 }: StateValues,
): AdamWState {
  const zeros = () => tf.zeros([values.length]) as tf.Tensor1D;
  return {
    values: tf.tensor1d(values),
    moment1: moment1 === undefined ? zeros() : tf.tensor1d(moment1),
    moment2: moment2 === undefined ? zeros() : tf.tensor1d(moment2),
  };
}

/** Reads the state. */
export async function stateValues(
  { values, moment1, moment2 }: AdamWState,
): Promise<Required<StateValues>> {
  return {
    values: await readValues(values),
    moment1: await readValues(moment1),
    moment2: await readValues(moment2),
  };
}

/** Copies a tensor's values into memory. */
export async function readValues(
  tensor: tf.Tensor1D,
): Promise<Float32Array<ArrayBuffer>> {
  return (await tensor.data()).slice() as Float32Array<ArrayBuffer>;
}
