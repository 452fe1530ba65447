import * as tf from "@tensorflow/tfjs-core";
import { libraryBinding, libraryOp } from "../backend.ts";
import { AttributeType, DataType } from "../tensorflow/data_type.ts";

/**
 * Source of the dropout masks of one step. Every call of {@linkcode dropout}
 * takes the next site, so that the masks of a step depend on its seed alone.
 */
export interface DropoutSource {
  /** Probability that a value is dropped. */
  readonly rate: number;
  /** Seed of this step: int32 `[2]`. */
  readonly seed: tf.Tensor1D;
  /** Number of sites taken so far. */
  site: number;
}

/**
 * Dropout: values are zeroed with probability `rate` and the others scaled by
 * `1 / (1 - rate)`. Does nothing without a source or at rate 0.
 */
export function dropout<T extends tf.Tensor>(
  x: T,
  source: DropoutSource | undefined,
): T {
  if (source === undefined || source.rate === 0) return x;
  const mask = keepMask(x.shape, source);
  return tf.customGrad((input, save) => {
    (save as tf.GradSaveFunc)([mask]);
    return {
      value: tf.mul(input as tf.Tensor, mask),
      gradFunc: (dy: tf.Tensor, [saved]: tf.Tensor[]) => tf.mul(dy, saved!),
    };
  })(x) as T;
}

/** `1 / (1 - rate)` where a value is kept, 0 where it is dropped. */
export function keepMask(
  shape: readonly number[],
  source: DropoutSource,
): tf.Tensor {
  const { rate } = source;
  const site = source.site++;
  const uniform = libraryBinding() === undefined
    ? hashedUniform(shape, source.seed, site)
    : statelessUniform(shape, source.seed, site);
  return tf.mul(
    tf.cast(tf.greaterEqual(uniform, rate), "float32"),
    1 / (1 - rate),
  );
}

/** Uniform values from the library's counter-based generator (Philox). */
function statelessUniform(
  shape: readonly number[],
  seed: tf.Tensor1D,
  site: number,
): tf.Tensor {
  return libraryOp("StatelessRandomUniform", [
    { name: "T", type: AttributeType.type, value: DataType.int32 },
    { name: "Tseed", type: AttributeType.type, value: DataType.int32 },
    { name: "dtype", type: AttributeType.type, value: DataType.float32 },
  ], [
    tf.tensor1d([...shape], "int32"),
    tf.add(seed, tf.tensor1d([0, site], "int32")),
  ])[0]!;
}

/**
 * Uniform values for engines without a generator of their own: a hash of the
 * position, `fract(sin(x) c)`, shifted by the seed. Good enough for masks.
 */
function hashedUniform(
  shape: readonly number[],
  seed: tf.Tensor1D,
  site: number,
): tf.Tensor {
  const size = shape.reduce((product, dim) => product * dim, 1);
  const position = tf.range(0, size, 1, "float32");
  const [low, high] = tf.split(tf.cast(seed, "float32"), 2) as [
    tf.Tensor,
    tf.Tensor,
  ];
  const offset = tf.add(
    tf.mod(tf.mul(low, 0.7548776662), 997),
    tf.mul(tf.mod(high, 997), 0.5698402910),
  );
  const phase = tf.add(
    tf.mul(position, 12.9898),
    tf.add(tf.mul(offset, 78.233), site * 37.719),
  );
  const hashed = tf.mul(tf.sin(phase), 43758.5453);
  return tf.reshape(tf.sub(hashed, tf.floor(hashed)), [...shape]);
}
