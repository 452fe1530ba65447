import * as tf from "@tensorflow/tfjs-core";
import { libraryBinding } from "../backend.ts";
import { fused } from "../trace.ts";
import { randomBits } from "./random_bits.ts";

/** Random keys of one step's masks: every site takes the next, so that the masks depend on the keys alone. */
export class DropoutKeys {
  readonly #keys: readonly tf.Tensor[];
  #taken = 0;

  /** @param keys int32 `[sites, 2]` */
  constructor(keys: tf.Tensor2D) {
    this.#keys = tf.unstack(keys);
  }

  /** @returns int32 `[2]` */
  take(): tf.Tensor {
    const key = this.#keys[this.#taken++];
    if (key === undefined) {
      throw new Error(
        `The model has more sites of dropout than the ${this.#keys.length} keys of its step`,
      );
    }
    return key;
  }
}

/** Where values are dropped. */
export interface DropoutSource {
  /** Probability that a value is dropped. */
  readonly rate: number;
  readonly keys: DropoutKeys;
}

/** A site's key and its rate, a scalar; nothing where nothing is dropped. */
export type DropoutDraw = readonly tf.Tensor[];

/** Takes the next site. */
export function drawSite(source: DropoutSource | undefined): DropoutDraw {
  if (source === undefined || source.rate === 0) return [];
  return [source.keys.take(), tf.scalar(source.rate)];
}

/**
 * Dropout: values are zeroed with probability `rate` (to within 2^-25) and the
 * others scaled by `1 / (1 - rate)`. Without a gradient of its own, which is
 * the same map applied to the gradient: masks are drawn again, never kept.
 */
export function drop<T extends tf.Tensor>(
  x: T,
  [key, rate]: DropoutDraw,
): T {
  if (key === undefined || rate === undefined) return x;
  const kept = libraryBinding() === undefined
    ? tf.greaterEqual(hashedUniform(x.shape, key), rate)
    : tf.greaterEqual(
      randomBits(x.shape, key),
      tf.cast(tf.mul(tf.sub(rate, 0.5), 2 ** 32), "int32"),
    );
  const scale = tf.div(1, tf.sub(1, rate));
  return tf.mul(x, tf.mul(tf.cast(kept, "float32"), scale));
}

/** Dropout with its gradient. Does nothing without a source or at rate 0. */
export function dropout<T extends tf.Tensor>(
  x: T,
  source: DropoutSource | undefined,
): T {
  const draw = drawSite(source);
  if (draw.length === 0) return x;
  return tf.customGrad((input, save) => {
    (save as tf.GradSaveFunc)([...draw]);
    return {
      value: dropFused([input as tf.Tensor, ...draw])[0]!,
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) =>
        dropFused([dy, ...saved])[0]!,
    };
  })(x) as T;
}

const dropFused = fused(([x, ...draw]) => [drop(x!, draw)]);

/** Positions of a block: few enough that float32 tells the sines of all of them apart. */
const BLOCK = 509;

/**
 * Uniform values for engines without a generator of their own: a hash of the
 * position, `fract(c sin(x))`, of the block it lies in and then of its place
 * there, shifted by the key. Good enough for masks.
 */
function hashedUniform(
  shape: readonly number[],
  key: tf.Tensor,
): tf.Tensor {
  const size = shape.reduce((product, dim) => product * dim, 1);
  const position = tf.range(0, size, 1, "float32");
  const block = tf.floor(tf.div(position, BLOCK));
  const place = tf.sub(position, tf.mul(block, BLOCK));
  const [key1, key2] = tf.split(
    tf.mod(tf.cast(key, "float32"), 997),
    2,
  ) as [tf.Tensor, tf.Tensor];
  const ofBlock = hashed(tf.add(tf.mul(block, 78.233), tf.mul(key2, 37.719)));
  const ofPlace = hashed(
    tf.add(
      tf.add(tf.mul(place, 12.9898), tf.mul(key1, 4.1414)),
      tf.mul(ofBlock, 6283.1853),
    ),
  );
  return tf.reshape(ofPlace, [...shape]);
}

function hashed(x: tf.Tensor): tf.Tensor {
  const scaled = tf.mul(tf.sin(x), 43758.5453);
  return tf.sub(scaled, tf.floor(scaled));
}
