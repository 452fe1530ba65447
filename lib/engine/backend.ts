import * as tf from "@tensorflow/tfjs-core";
// The types of operations as methods of tensors, which every engine has.
import type {} from "@tensorflow/tfjs";
import { typeAttribute } from "./tensorflow/attributes.ts";
import type {
  TensorflowBinding,
  TensorMetadata,
} from "./tensorflow/binding.ts";
import { DataType } from "./tensorflow/tensors.ts";

/** The parts of tfjs-node's backend that the engine uses. */
interface NodeBackend {
  getInputTensorIds(tensors: readonly tf.Tensor[]): number[];
  createOutputTensor(metadata: TensorMetadata): tf.Tensor;
}

let library: TensorflowBinding | undefined;

/** Registers the library that runs in this process. */
export function useLibrary(binding: TensorflowBinding): void {
  library = binding;
}

/** The library's binding, or undefined when another engine runs. */
export function libraryBinding(): TensorflowBinding | undefined {
  return library;
}

/** Number of shards of a batch that run concurrently; 1 on one thread, or if the engine parallelizes each operation itself. */
export function engineLanes(): number {
  return library?.lanes ?? 1;
}

/** The library's ids of some tensors. */
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
 * A float32 tensor whose values are written in place, so that reading a file
 * needs no memory besides the tensor's.
 *
 * @param write Fills all values
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

/**
 * Executes an operation of the library, which must be the engine, for which
 * tfjs has no function.
 *
 * @param types Its attributes, all of which are element types
 */
export function libraryOp(
  opName: string,
  types: Readonly<Record<string, DataType>>,
  inputs: readonly tf.Tensor[],
): tf.Tensor {
  const attributes = Object.entries(types).map(([name, type]) =>
    typeAttribute(name, type)
  );
  const ids = tensorIds(inputs);
  return tensorOf(library!.executeOp(opName, attributes, ids, 1)[0]!);
}

function nodeBackend(): NodeBackend {
  return tf.backend() as unknown as NodeBackend;
}
