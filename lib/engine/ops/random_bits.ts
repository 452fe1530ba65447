import * as tf from "@tensorflow/tfjs-core";
import { libraryOp } from "../backend.ts";
import { AttributeType, DataType } from "../tensorflow/tensors.ts";

/**
 * Random bits by a hash of each value's position: the same on every machine,
 * and cheap enough to be drawn again in the backward pass instead of being kept.
 *
 * @param key Random itself, int32 `[2]`
 * @returns int32 of `shape`, all 32 bits random
 */
export function randomBits(
  shape: readonly number[],
  key: tf.Tensor,
): tf.Tensor {
  const size = shape.reduce((product, dim) => product * dim, 1);
  const positions = libraryOp("Range", [
    { name: "Tidx", type: AttributeType.type, value: DataType.int32 },
  ], [int32(0), int32(size), int32(1)])[0]!;
  const [key1, key2] = [0, 1].map((i) => tf.slice(key, [i], [1]));
  const bits = hash(tf.add(hash(xor(positions, key1!)), key2!));
  return tf.reshape(bits, [...shape]);
}

/** A bijective hash of 32 bits, "lowbias32" of github.com/skeeto/hash-prospector. */
function hash(x: tf.Tensor): tf.Tensor {
  const once = tf.mul(fold(x, 16), int32(0x7feb352d));
  const twice = tf.mul(fold(once, 15), int32(0x846ca68b));
  return fold(twice, 16);
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
  return libraryOp(opName, [
    { name: "T", type: AttributeType.type, value: DataType.int32 },
  ], [a, b])[0]!;
}

/** 32 bits as a scalar; products and sums of them wrap around. */
function int32(bits: number): tf.Scalar {
  return tf.scalar(bits | 0, "int32");
}
