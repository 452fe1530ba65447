import * as tf from "@tensorflow/tfjs-core";
import { libraryBinding, libraryOp } from "../backend.ts";
import { elementCount } from "../safetensors/reader.ts";
import { DataType } from "../tensorflow/tensors.ts";
import { fused } from "../trace.ts";
import { withGradient } from "./gradient.ts";

/** Rate and keys of a dropout. */
export interface DropoutSource {
  /** Probability that a value is dropped. */
  readonly rate: number;
  /** Random keys of the step's masks, int32 `[2]` each. Each dropout takes the next key, which alone determines its mask. */
  readonly keys: Iterator<tf.Tensor>;
}

/** Key and rate (a scalar) of one dropout; both absent if nothing is dropped. */
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
  const kept = libraryBinding() === undefined
    ? hashedUniform(x.shape, maskKey).greaterEqual(rate)
    : randomBits(x.shape, maskKey)
      .greaterEqual(rate.sub(0.5).mul(2 ** 32).cast("int32"));
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

/**
 * Random bits by a hash of each value's position: the same on every machine,
 * and cheap enough to be drawn again in the backward pass instead of being kept.
 *
 * @param key Random bits, int32 `[2]`
 * @returns int32 of `shape`, all 32 bits random
 */
function randomBits(
  shape: readonly number[],
  key: tf.Tensor,
): tf.Tensor {
  const size = elementCount(shape);
  const positions = libraryOp(
    "Range",
    { Tidx: DataType.int32 },
    [int32(0), int32(size), int32(1)],
  );
  const [key1, key2] = [0, 1].map((i) => key.slice([i], [1]));
  return hash(hash(xor(positions, key1!)).add(key2!)).reshape([...shape]);
}

/** A bijective hash of 32 bits, "lowbias32" of github.com/skeeto/hash-prospector. */
function hash(x: tf.Tensor): tf.Tensor {
  const once: tf.Tensor = fold(x, 16).mul(int32(0x7feb352d));
  return fold(fold(once, 15).mul(int32(0x846ca68b)), 16);
}

/** `x ^ (x >>> by)`: the library shifts the sign in, so it is masked away. */
function fold(x: tf.Tensor, by: number): tf.Tensor {
  const shifted = bitwise("RightShift", x, int32(by));
  return xor(x, bitwise("BitwiseAnd", shifted, int32(2 ** (32 - by) - 1)));
}

function xor(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  return bitwise("BitwiseXor", a, b);
}

function bitwise(opName: string, a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  return libraryOp(opName, { T: DataType.int32 }, [a, b]);
}

/** 32 bits as a scalar; products and sums of them wrap around. */
function int32(bits: number): tf.Scalar {
  return tf.scalar(bits | 0, "int32");
}

/** Positions per block: few enough that their sines are distinct in float32. */
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
  const size = elementCount(shape);
  const position = tf.range(0, size, 1, "float32");
  const block = position.div(BLOCK).floor();
  const place = position.sub(block.mul(BLOCK));
  const [key1, key2] = key.cast("float32").mod(997).split(2);
  const ofBlock = hashed(block.mul(78.233).add(key2!.mul(37.719)));
  const ofPlace = place.mul(12.9898).add(key1!.mul(4.1414))
    .add(ofBlock.mul(6283.1853));
  return hashed(ofPlace).reshape([...shape]);
}

function hashed(x: tf.Tensor): tf.Tensor {
  const scaled: tf.Tensor = x.sin().mul(43758.5453);
  return scaled.sub(scaled.floor());
}
