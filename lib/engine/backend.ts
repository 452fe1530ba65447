import * as tf from "@tensorflow/tfjs-core";
import { DataType } from "./tensorflow/tensors.ts";
import type { Tensorflow } from "./tensorflow/start.ts";
import type { Attribute } from "./tensorflow/attributes.ts";
import type { TensorMetadata } from "./tensorflow/tensor_table.ts";

/** tfjs-node's backend, as far as the engine reaches into it. */
interface NodeBackend {
  getInputTensorIds(tensors: readonly tf.Tensor[]): number[];
  createOutputTensor(metadata: TensorMetadata): tf.Tensor;
}

let tensorflow: Tensorflow | undefined;

/** Notes that the library runs in this process. */
export function useTensorflow(started: Tensorflow): void {
  tensorflow = started;
}

/** The library's binding, or undefined when another engine runs. */
export function libraryBinding(): Tensorflow["binding"] | undefined {
  return tensorflow?.binding;
}

/** Parts of a traced computation that run side by side; 1 on one thread, and where the engine shares out each operation itself. */
export function engineLanes(): number {
  return tensorflow?.lanes ?? 1;
}

/** Ids under which the library knows these tensors. */
export function tensorIds(tensors: readonly tf.Tensor[]): number[] {
  return nodeBackend().getInputTensorIds(tensors);
}

/** A tfjs tensor for one of the library's. */
export function tensorOf<T extends tf.Tensor = tf.Tensor>(
  metadata: TensorMetadata,
): T {
  return nodeBackend().createOutputTensor(metadata) as T;
}

/**
 * A float32 tensor whose values are written where they will stay: what is read
 * from a file needs no memory beside that of the tensor.
 *
 * @param write Fills all of it
 */
export function writtenTensor(
  shape: number[],
  write: (values: Float32Array<ArrayBuffer>) => void,
): tf.Tensor {
  const binding = libraryBinding();
  const dtype = DataType.float32;
  if (binding === undefined) {
    const values = new Float32Array(tf.util.sizeFromShape(shape));
    write(values);
    return tf.tensor(values, shape, "float32");
  }
  const id = binding.createTensor(
    shape,
    dtype,
    ({ buffer, byteOffset, byteLength }) =>
      write(new Float32Array(buffer, byteOffset, byteLength / 4)),
  );
  return tensorOf({ id, shape, dtype });
}

/** Executes one of the library's own operations, which tfjs has no name for. */
export function libraryOp(
  opName: string,
  attributes: readonly Attribute[],
  inputs: readonly tf.Tensor[],
  outputs = 1,
): tf.Tensor[] {
  const binding = libraryBinding();
  if (binding === undefined) {
    throw new Error(
      `Operation "${opName}" exists in the tensorflow engine only`,
    );
  }
  return binding.executeOp(opName, attributes, tensorIds(inputs), outputs).map((
    m,
  ) => tensorOf(m));
}

function nodeBackend(): NodeBackend {
  return tf.backend() as unknown as NodeBackend;
}
