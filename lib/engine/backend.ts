import * as tf from "@tensorflow/tfjs-core";
// The types of operations as methods of tensors, which every engine has.
import type {} from "@tensorflow/tfjs";
import type { TensorflowBinding } from "./tensorflow/binding.ts";
import type { Precision } from "./tensorflow/precision.ts";
import { DataType } from "./tensorflow/tensors.ts";
import { tensorIds, tensorOf } from "./tensorflow/tfjs_node_gpu.ts";

let library: TensorflowBinding | undefined;

/** Registers the library that runs in this process. */
export function useLibrary(binding: TensorflowBinding): void {
  library = binding;
}

/** The library's binding, or undefined when another engine runs. */
export function libraryBinding(): TensorflowBinding | undefined {
  return library;
}

/**
 * Number of shards of a batch that run concurrently; 1 on one thread, or if the
 * engine parallelizes each operation itself.
 */
export function engineLanes(): number {
  return library?.lanes ?? 1;
}

/** Precision in which the engine that runs computes matrix products. */
export function enginePrecision(): Precision {
  return library?.precision ?? "f32";
}

/** A matrix, stored from now on in the type in which products take it. */
export function storedForProducts<T extends tf.Tensor>(matrix: T): T {
  if (library !== undefined && enginePrecision() === "bf16") {
    library.toBfloat16(tensorIds([matrix])[0]!);
  }
  return matrix;
}

/**
 * A float32 tensor whose values are written in place, so that reading a file
 * needs no memory besides the tensor's.
 *
 * @param write Fills all values
 */
export function writtenTensor(
  shape: number[],
  write: (values: Float32Array<ArrayBuffer>) => void,
): tf.Tensor {
  const dtype = DataType.float32;
  if (library === undefined) {
    const values = new Float32Array(tf.util.sizeFromShape(shape));
    write(values);
    return tf.tensor(values, shape, "float32");
  }
  const id = library.createTensor(
    shape,
    dtype,
    ({ buffer, byteOffset, byteLength }) =>
      write(new Float32Array(buffer, byteOffset, byteLength / 4)),
  );
  return tensorOf({ id, shape, dtype });
}
