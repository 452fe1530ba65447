import * as tf from "@tensorflow/tfjs-core";

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
  const { beta1, beta2, epsilon, weightDecay } = options;
  const clipped = clipByGlobalNorm(gradient, options.clipNorm);
  const moment1 = tf.add(
    state.moment1,
    tf.mul(tf.sub(clipped, state.moment1), 1 - beta1),
  ) as tf.Tensor1D;
  const moment2 = tf.add(
    tf.mul(state.moment2, beta2),
    tf.mul(tf.square(clipped), 1 - beta2),
  ) as tf.Tensor1D;
  const kept = tf.sub(
    state.values,
    tf.mul(
      tf.mul(state.values, decayed),
      tf.mul(step.learningRate, weightDecay),
    ),
  );
  const denominator = tf.add(
    tf.sqrt(tf.div(moment2, step.correction2)),
    epsilon,
  );
  const change = tf.mul(
    tf.div(tf.div(moment1, step.correction1), denominator),
    step.learningRate,
  );
  const values = tf.sub(kept, change) as tf.Tensor1D;
  const { updated } = step;
  if (updated === undefined) return { values, moment1, moment2 };
  const on = tf.cast(updated, "bool");
  return {
    values: tf.where(on, values, state.values),
    moment1: tf.where(on, moment1, state.moment1),
    moment2: tf.where(on, moment2, state.moment2),
  };
}

/** Scales a gradient so that its norm is at most `bound`, as `clip_grad_norm_` of PyTorch. */
function clipByGlobalNorm(gradient: tf.Tensor1D, bound: number): tf.Tensor1D {
  const norm = tf.sqrt(tf.sum(tf.square(gradient)));
  return tf.mul(gradient, tf.minimum(tf.div(bound, tf.add(norm, 1e-6)), 1));
}
