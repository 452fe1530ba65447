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
 * @param rates Learning rate and the two bias corrections `1 - beta^t`, `[3]`:
 * a tensor, so that one traced update serves every step
 */
export function adamW(
  { values, moment1, moment2 }: AdamWState,
  gradient: tf.Tensor1D,
  decayed: tf.Tensor1D,
  rates: tf.Tensor1D,
  { beta1, beta2, epsilon, weightDecay, clipNorm }: AdamWOptions,
): AdamWState {
  const settings = tf.tensor1d(
    [1 - beta1, beta2, 1 - beta2, epsilon, weightDecay, clipNorm],
  );
  return update(
    { values, moment1, moment2, gradient, decayed, rates, settings },
  );
}

type Scalars = [tf.Tensor, tf.Tensor, tf.Tensor];

/**
 * Compiled, since otherwise each of its operations would read and write whole
 * vectors.
 */
const update = fused(
  ({ values, moment1, moment2, gradient, decayed, rates, settings }:
    & AdamWState
    & Readonly<
      Record<"gradient" | "decayed" | "rates" | "settings", tf.Tensor>
    >) => {
    const [learningRate, correction1, correction2] = rates
      .unstack() as Scalars;
    const [
      oneMinusBeta1,
      beta2,
      oneMinusBeta2,
      epsilon,
      weightDecay,
      clipNorm,
    ] = settings.unstack() as [...Scalars, ...Scalars];
    const clipped = clipByGlobalNorm(gradient, clipNorm);
    const next1 = moment1.add(clipped.sub(moment1).mul(oneMinusBeta1));
    const next2 = moment2.mul(beta2).add(clipped.square().mul(oneMinusBeta2));
    const decay = values.mul(decayed).mul(learningRate.mul(weightDecay));
    const root = next2.div(correction2).sqrt().add(epsilon);
    const change = next1.div(correction1).div(root).mul(learningRate);
    return {
      values: values.sub(decay).sub<tf.Tensor1D>(change),
      moment1: next1 as tf.Tensor1D,
      moment2: next2 as tf.Tensor1D,
    };
  },
);

/**
 * Scales a gradient so that its norm is at most `bound`, as `clip_grad_norm_`
 * of PyTorch.
 */
function clipByGlobalNorm(gradient: tf.Tensor, bound: tf.Tensor): tf.Tensor {
  const norm = gradient.square().sum().sqrt();
  return gradient.mul(bound.div(norm.add(1e-6)).minimum(1));
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

/**
 * The state as tensors, which the caller disposes; without moments at the start
 * of training.
 */
export function stateTensors(
  { values, moment1, moment2 }:
    & Pick<StateValues, "values">
    & Partial<StateValues>,
): AdamWState {
  const zeros = new Float32Array(values.length);
  return {
    values: tf.tensor1d(values),
    moment1: tf.tensor1d(moment1 ?? zeros),
    moment2: tf.tensor1d(moment2 ?? zeros),
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
