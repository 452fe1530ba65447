import * as tf from "@tensorflow/tfjs-core";
import { libraryBinding } from "../backend.ts";
import { elementCount } from "../safetensors/reader.ts";
import { DataType } from "../tensorflow/tensors.ts";
import { libraryOp } from "../tensorflow/tfjs_node_gpu.ts";

/** What engines compute differently, or only some of them do. */
interface EngineOps {
  /**
   * True if it records traces as graphs, and compiles them for each set of
   * shapes.
   */
  readonly compiles: boolean;
  /** True if compiled functions are loops, each on one thread of a CPU. */
  readonly loops: boolean;
  /** Rows of a table `[rows, hidden]` by int32 `[n]`: `[n, hidden]`. */
  gather(table: tf.Tensor, ids: tf.Tensor1D): tf.Tensor;
  /**
   * Sums of the values of each row: `[n, hidden]` and int32 `[n]` ->
   * `[rows, hidden]`.
   */
  sumByRow(values: tf.Tensor2D, row: tf.Tensor1D, rows: number): tf.Tensor2D;
  /**
   * True with probability `1 - rate`, to within 2^-25, and determined by the
   * key.
   *
   * @param key Random bits, int32 `[2]`
   * @param rate A scalar
   */
  dropoutMask(
    shape: readonly number[],
    key: tf.Tensor,
    rate: tf.Tensor,
  ): tf.Tensor;
}

/** WebGPU and WebAssembly, with the kernels that tfjs has for all engines. */
const PORTABLE: EngineOps = {
  compiles: false,
  loops: false,
  gather: (table, ids) => tf.gather(table, ids),
  sumByRow(values, row, rows) {
    // Some models have a single token type, and a one-hot vector needs a width
    // of two or more.
    const oneHot = tf.oneHot(row, Math.max(rows, 2)) as tf.Tensor2D;
    return tf.matMul<tf.Tensor2D>(oneHot, values, true)
      .slice([0, 0], [rows, values.shape[1]]);
  },
  dropoutMask: (shape, key, rate) =>
    hashedUniform(shape, key).greaterEqual(rate),
};

const LIBRARY_ON_CPU: EngineOps = {
  compiles: true,
  loops: true,
  // The kernel of tfjs-node reads the ids to check them, which cannot be
  // traced; the library checks them as well.
  gather(table, ids) {
    const { float32, int32 } = DataType;
    const types = { Tparams: float32, Tindices: int32, Taxis: int32 };
    return libraryOp("GatherV2", types, [table, ids, tf.scalar(0, "int32")]);
  },
  sumByRow: (values, row, rows) => tf.unsortedSegmentSum(values, row, rows),
  dropoutMask: (shape, key, rate) =>
    randomBits(shape, key)
      .greaterEqual(rate.sub(0.5).mul(2 ** 32).cast("int32")),
};

const LIBRARY_ON_GPU: EngineOps = {
  ...LIBRARY_ON_CPU,
  loops: false,
  // The library would add in an order that changes from run to run.
  sumByRow: PORTABLE.sumByRow,
};

/** Those of the engine that runs. */
export function engineOps(): EngineOps {
  const binding = libraryBinding();
  if (binding === undefined) return PORTABLE;
  return binding.isUsingGpuDevice() ? LIBRARY_ON_GPU : LIBRARY_ON_CPU;
}

/**
 * Random bits by a hash of each value's position: the same on every machine,
 * and cheap enough to be drawn again in the backward pass instead of being
 * kept.
 *
 * @param key Random bits, int32 `[2]`
 * @returns int32 of `shape`, all 32 bits random
 */
function randomBits(
  shape: readonly number[],
  key: tf.Tensor,
): tf.Tensor {
  const size = elementCount(shape);
  const positions = tf.range(0, size, 1, "int32");
  const key1 = key.slice([0], [1]);
  const key2 = key.slice([1], [1]);
  return hash(hash(xor(positions, key1)).add(key2)).reshape([...shape]);
}

/**
 * A bijective hash of 32 bits, "lowbias32" of
 * github.com/skeeto/hash-prospector.
 */
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

/** A bitwise operation, of which tfjs-node has no kernels. */
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
 * position, `fract(c sin(x))`, of the block it lies in and then of its index
 * there, shifted by the key. Good enough for masks.
 */
function hashedUniform(
  shape: readonly number[],
  key: tf.Tensor,
): tf.Tensor {
  const size = elementCount(shape);
  const position = tf.range(0, size, 1, "float32");
  const block = position.div(BLOCK).floor();
  const index = position.sub(block.mul(BLOCK));
  const [key1, key2] = reducedKey(key).split(2);
  const ofBlock = hashed(block.mul(78.233).add(key2!.mul(37.719)));
  const ofIndex = index.mul(12.9898).add(key1!.mul(4.1414))
    .add(ofBlock.mul(6283.1853));
  return hashed(ofIndex).reshape([...shape]);
}

/**
 * A key as numbers from 0 to 996. It is cut in two before, since float32 has
 * remainders of large numbers only roughly.
 */
function reducedKey(key: tf.Tensor): tf.Tensor {
  const all: tf.Tensor = key.cast("float32");
  const high = all.div(2 ** 16).floor();
  const low = all.sub(high.mul(2 ** 16));
  return high.mul(31).add(low).mod(997);
}

function hashed(x: tf.Tensor): tf.Tensor {
  const scaled: tf.Tensor = x.sin().mul(43758.5453);
  return scaled.sub(scaled.floor());
}
