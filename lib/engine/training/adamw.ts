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

/** Optimizer state: everything flat, `[size]`. */
export interface AdamWState {
  readonly values: tf.Tensor1D;
  readonly moment1: tf.Tensor1D;
  readonly moment2: tf.Tensor1D;
}

/** What changes from step to step, as tensors, so that a traced update serves every step. */
export interface AdamWStep {
  readonly learningRate: tf.Tensor;
  /** `1 - beta1^t`, scalar or `[size]` */
  readonly correction1: tf.Tensor;
  /** `1 - beta2^t`, scalar or `[size]` */
  readonly correction2: tf.Tensor;
  /** 1 for the values that this step updates, `[size]`; undefined for all. */
  readonly updated: tf.Tensor1D | undefined;
}

/**
 * One AdamW update of all values, as `torch.optim.AdamW` does it after
 * `clip_grad_norm_`: decoupled decay first, then the bias-corrected step.
 *
 * @param gradient `[size]`
 * @param decayed 1 for the values that weight decay shrinks, `[size]`
 */
export function adamW(
  state: AdamWState,
  gradient: tf.Tensor1D,
  decayed: tf.Tensor1D,
  step: AdamWStep,
  options: AdamWOptions,
): AdamWState {
  const { beta1, beta2, epsilon, weightDecay, clipNorm } = options;
  const { updated } = step;
  const [values, moment1, moment2] = update([
    state.values,
    state.moment1,
    state.moment2,
    gradient,
    decayed,
    step.learningRate,
    step.correction1,
    step.correction2,
    ...[1 - beta1, beta2, 1 - beta2, epsilon, weightDecay, clipNorm].map((
      setting,
    ) => tf.scalar(setting)),
    ...(updated === undefined ? [] : [updated]),
  ]) as [tf.Tensor1D, tf.Tensor1D, tf.Tensor1D];
  return { values, moment1, moment2 };
}

/** Compiled, since value by value it would read and write every vector in each of its operations. */
const update = fused((inputs) => {
  const [values, moment1, moment2, gradient, decayed, ...rest] = inputs;
  const [learningRate, correction1, correction2, ...settings] = rest;
  const [unlike1, beta2, unlike2, epsilon, weightDecay, clipNorm, updated] =
    settings;
  const clipped = clipByGlobalNorm(gradient!, clipNorm!);
  const next1 = tf.add(
    moment1!,
    tf.mul(tf.sub(clipped, moment1!), unlike1!),
  );
  const next2 = tf.add(
    tf.mul(moment2!, beta2!),
    tf.mul(tf.square(clipped), unlike2!),
  );
  const kept = tf.sub(
    values!,
    tf.mul(tf.mul(values!, decayed!), tf.mul(learningRate!, weightDecay!)),
  );
  const denominator = tf.add(tf.sqrt(tf.div(next2, correction2!)), epsilon!);
  const change = tf.mul(
    tf.div(tf.div(next1, correction1!), denominator),
    learningRate!,
  );
  const next = [tf.sub(kept, change), next1, next2];
  if (updated === undefined) return next;
  const on = tf.cast(updated, "bool");
  return [values!, moment1!, moment2!].map((before, i) =>
    tf.where(on, next[i]!, before)
  );
});

/** Scales a gradient so that its norm is at most `bound`, as `clip_grad_norm_` of PyTorch. */
function clipByGlobalNorm(gradient: tf.Tensor, bound: tf.Tensor): tf.Tensor {
  const norm = tf.sqrt(tf.sum(tf.square(gradient)));
  return tf.mul(gradient, tf.minimum(tf.div(bound, tf.add(norm, 1e-6)), 1));
}
