import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";

/** Settings of AdamW (arXiv 1711.05101). */
export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Bound on the global norm of the gradient. */
  readonly clipNorm: number;
}

/** The optimizer's state, all of it flat: `[size]`. */
export type AdamWState = Readonly<
  Record<"values" | "moment1" | "moment2", tf.Tensor1D>
>;

/**
 * One AdamW update of all values, as `torch.optim.AdamW` does it after
 * `clip_grad_norm_`: decoupled decay first, then the bias-corrected step.
 *
 * @param gradient `[size]`
 * @param decayed 1 for the values that weight decay shrinks, `[size]`
 * @param rates Learning rate and the two bias corrections `1 - beta^t`, `[3]`: a tensor, so that one traced update serves every step
 */
export function adamW(
  { values, moment1, moment2 }: AdamWState,
  gradient: tf.Tensor1D,
  decayed: tf.Tensor1D,
  rates: tf.Tensor1D,
  { beta1, beta2, epsilon, weightDecay, clipNorm }: AdamWOptions,
): AdamWState {
  const [learningRate, correction1, correction2] = tf.unstack(rates) as [
    tf.Tensor,
    tf.Tensor,
    tf.Tensor,
  ];
  return update({
    values,
    moment1,
    moment2,
    gradient,
    decayed,
    learningRate,
    correction1,
    correction2,
    oneMinusBeta1: tf.scalar(1 - beta1),
    beta2: tf.scalar(beta2),
    oneMinusBeta2: tf.scalar(1 - beta2),
    epsilon: tf.scalar(epsilon),
    weightDecay: tf.scalar(weightDecay),
    clipNorm: tf.scalar(clipNorm),
  });
}

type Inputs =
  & AdamWState
  & Readonly<
    Record<
      | "gradient"
      | "decayed"
      | "learningRate"
      | "correction1"
      | "correction2"
      | "oneMinusBeta1"
      | "beta2"
      | "oneMinusBeta2"
      | "epsilon"
      | "weightDecay"
      | "clipNorm",
      tf.Tensor
    >
  >;

/** Compiled, since otherwise each of its operations would read and write whole vectors. */
const update = fused(
  (inputs: Inputs) => {
    const { values, moment1, moment2, gradient, decayed } = inputs;
    const { learningRate, correction1, correction2 } = inputs;
    const clipped = clipByGlobalNorm(gradient, inputs.clipNorm);
    const next1 = tf.add(
      moment1,
      tf.mul(tf.sub(clipped, moment1), inputs.oneMinusBeta1),
    );
    const next2 = tf.add(
      tf.mul(moment2, inputs.beta2),
      tf.mul(tf.square(clipped), inputs.oneMinusBeta2),
    );
    const shrunk = tf.sub(
      values,
      tf.mul(tf.mul(values, decayed), tf.mul(learningRate, inputs.weightDecay)),
    );
    const denominator = tf.add(
      tf.sqrt(tf.div(next2, correction2)),
      inputs.epsilon,
    );
    const change = tf.mul(
      tf.div(tf.div(next1, correction1), denominator),
      learningRate,
    );
    return {
      values: tf.sub(shrunk, change) as tf.Tensor1D,
      moment1: next1 as tf.Tensor1D,
      moment2: next2 as tf.Tensor1D,
    };
  },
);

/** Scales a gradient so that its norm is at most `bound`, as `clip_grad_norm_` of PyTorch. */
function clipByGlobalNorm(gradient: tf.Tensor, bound: tf.Tensor): tf.Tensor {
  const norm = tf.sqrt(tf.sum(tf.square(gradient)));
  return tf.mul(gradient, tf.minimum(tf.div(bound, tf.add(norm, 1e-6)), 1));
}

/** Learning rates with a linear warm-up from 0, then a linear decay to 0. */
export interface LearningRates {
  readonly learningRate: number;
  readonly steps: number;
  /** Share of the steps that warm up, rounded up to whole steps. */
  readonly warmupRatio: number;
}

/**
 * Learning rate of a step, counted from 0, as in
 * `get_linear_schedule_with_warmup` of transformers.
 */
export function learningRateAt(step: number, rates: LearningRates): number {
  const warmup = Math.ceil(rates.warmupRatio * rates.steps);
  const factor = step < warmup ? step / Math.max(1, warmup) : Math.max(
    0,
    (rates.steps - step) / Math.max(1, rates.steps - warmup),
  );
  return rates.learningRate * factor;
}

/** The optimizer's state in memory, all of it flat: `[size]`. */
export type StateValues = Readonly<Record<keyof AdamWState, Float32Array>>;

/** The state as tensors, which the caller disposes; without moments at the start of training. */
export function stateTensors(
  { values, moment1, moment2 }:
    & Pick<StateValues, "values">
    & Partial<StateValues>,
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
): Promise<StateValues> {
  return {
    values: await readValues(values),
    moment1: await readValues(moment1),
    moment2: await readValues(moment2),
  };
}

/** Copies a flat tensor's values into memory. */
export async function readValues(
  tensor: tf.Tensor1D,
): Promise<Float32Array<ArrayBuffer>> {
  return (await tensor.data()).slice() as Float32Array<ArrayBuffer>;
}
