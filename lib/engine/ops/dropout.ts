import * as tf from "@tensorflow/tfjs-core";
import { fused } from "../trace.ts";
import { engineOps } from "./engine_ops.ts";
import { withGradient } from "./gradient.ts";

/** Rate and keys of a dropout. */
export interface DropoutSource {
  /** Probability that a value is dropped. */
  readonly rate: number;
  /**
   * Random keys of the step's masks, int32 `[2]` each. Each dropout takes the
   * next key, which alone determines its mask.
   */
  readonly keys: Iterator<tf.Tensor>;
}

/**
 * Key and rate (a scalar) of one dropout; both absent if nothing is dropped.
 */
export type DropoutDraw = {
  readonly maskKey?: tf.Tensor | undefined;
  readonly rate?: tf.Tensor | undefined;
};

/** Takes the key of the next dropout. */
export function drawDropout(source: DropoutSource | undefined): DropoutDraw {
  if (source === undefined || source.rate === 0) return {};
  const { value } = source.keys.next();
  if (value !== undefined) {
    return { maskKey: value, rate: tf.scalar(source.rate) };
  }
  throw new Error(
    "The model applies dropout in more places than those for which the step has keys",
  );
}

/**
 * Dropout: values are zeroed with probability `rate` (to within 2^-25) and the
 * others scaled by `1 / (1 - rate)`. Its gradient is the same map applied to
 * the gradient: masks are drawn again instead of being stored.
 */
export function drop<T extends tf.Tensor>(
  x: T,
  { maskKey, rate }: DropoutDraw,
): T {
  if (maskKey === undefined || rate === undefined) return x;
  const kept = engineOps().dropoutMask(x.shape, maskKey, rate);
  const scale = tf.div(1, tf.sub(1, rate));
  return x.mul(kept.cast("float32").mul(scale));
}

/** Dropout with its gradient. Returns `x` without a source or at rate 0. */
export function dropout<T extends tf.Tensor>(
  x: T,
  source: DropoutSource | undefined,
): T {
  const draw = drawDropout(source);
  if (draw.maskKey === undefined) return x;
  return withGradient(
    { x },
    () => ({ ...dropFused({ x, ...draw }), ...draw }),
    (dy, draw) => ({ x: dropFused({ x: dy, ...draw }).value }),
  ) as T;
}

/** {@linkcode drop} in one kernel, without a gradient. */
export const dropFused = fused(
  ({ x, ...draw }: DropoutDraw & { readonly x: tf.Tensor }) => ({
    value: drop(x, draw),
  }),
);
