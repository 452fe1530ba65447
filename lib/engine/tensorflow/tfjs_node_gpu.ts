/**
 * The one door to `@tensorflow/tfjs-node-gpu`, whose backend and kernels run
 * every operation. What the package reaches for in its native addon,
 * `TFJSBinding`, is {@linkcode NodeBinding}; what is changed of the package,
 * and used of it and of tfjs-core although it is private, is here, with the
 * reason.
 */
import * as tf from "@tensorflow/tfjs-core";
import type { NodeJSKernelBackend } from "@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js";
import type {
  TFEOpAttr,
  TFJSBinding,
} from "@tensorflow/tfjs-node-gpu/dist/tfjs_binding.js";
import type { TensorflowBinding, TensorMetadata } from "./binding.ts";
import { AttributeType, DataType } from "./tensors.ts";

/** Name of the package's backend, under which its kernels are registered. */
export const BACKEND = "tensorflow";

/** The interface of the package's native addon, over FFI. */
class NodeBinding implements TFJSBinding {
  readonly TF_FLOAT = DataType.float32;
  readonly TF_INT32 = DataType.int32;
  readonly TF_INT64 = DataType.int64;
  readonly TF_BOOL = DataType.bool;
  readonly TF_COMPLEX64 = DataType.complex64;
  readonly TF_STRING = DataType.string;
  readonly TF_RESOURCE = DataType.resource;
  readonly TF_UINT8 = DataType.uint8;
  readonly TF_ATTR_STRING = AttributeType.string;
  readonly TF_ATTR_INT = AttributeType.int;
  readonly TF_ATTR_FLOAT = AttributeType.float;
  readonly TF_ATTR_BOOL = AttributeType.bool;
  readonly TF_ATTR_TYPE = AttributeType.type;
  readonly TF_ATTR_SHAPE = AttributeType.shape;
  /**
   * libtensorflow has no such attribute type; the addon does not define it
   * either.
   */
  readonly TF_ATTR_RESOURCE = -1;
  readonly TF_Version: string;

  readonly TensorMetadata = class {
    id = 0;
    shape: number[] = [];
    dtype = 0;
  };

  readonly TFEOpAttr = class implements TFEOpAttr {
    name = "";
    type = 0;
    value: TFEOpAttr["value"] = 0;
  };

  constructor(private readonly library: TensorflowBinding) {
    this.TF_Version = library.version;
  }

  createTensor(
    shape: number[],
    dtype: number,
    values: tf.backend_util.BackendValues,
  ): number {
    // Strings are the only values in a list, each as its bytes.
    return Array.isArray(values)
      ? this.library.createStrings(shape, values)
      : this.library.createTensor(shape, dtype, values);
  }

  deleteTensor(id: number): void {
    this.library.deleteTensor(id);
  }

  tensorDataSync(id: number): Float32Array | Int32Array | Uint8Array {
    // The type leaves out strings and int64, which the addon gives as well.
    return this.library.tensorDataSync(id) as Float32Array;
  }

  executeOp(
    opName: string,
    attributes: TFEOpAttr[],
    inputs: number[],
    outputs: number,
  ): TensorMetadata[] {
    return this.library.executeOp(opName, attributes, inputs, outputs);
  }

  getNumOfTensors(): number {
    return this.library.getNumOfTensors();
  }

  isUsingGpuDevice(): boolean {
    return this.library.isUsingGpuDevice();
  }

  // No kernel uses a SavedModel: `tf.node.loadSavedModel()` is in the package's
  // main module, which loads the addon.
  getNumOfSavedModels(): number {
    return 0;
  }

  loadSavedModel(exportDir: string): never {
    throw new Error(`Cannot load "${exportDir}": SavedModels are unsupported`);
  }

  deleteSavedModel(id: number): never {
    throw new Error(`There is no SavedModel ${id}`);
  }

  runSavedModel(id: number): never {
    throw new Error(`There is no SavedModel ${id}`);
  }
}

/**
 * Registers the package's backend and kernels, on a library that is loaded, and
 * makes it the backend of tfjs. The packages are imported here, since other
 * engines do not need them, and they take most of the start of a stage.
 */
export async function useTensorflow(library: TensorflowBinding): Promise<void> {
  // The package's kernels call functions that Node.js 23 and Deno lack.
  const { default: util } = await import("node:util");
  const removed = {
    isNullOrUndefined: (value: unknown) =>
      value === null || value === undefined,
    isArray: Array.isArray,
  };
  for (const [name, value] of Object.entries(removed)) {
    if (!(name in util)) Object.defineProperty(util, name, { value });
  }

  const { NodeJSKernelBackend } = await import(
    "@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js"
  );
  await import("@tensorflow/tfjs-node-gpu/dist/register_all_kernels.js");

  /**
   * The package creates a tensor at its first use. If that were inside a trace,
   * a tensor from outside of it would become a constant of the graph. So it is
   * created at once.
   */
  class Backend extends NodeJSKernelBackend {
    override move(
      dataId: object,
      values: tf.backend_util.BackendValues,
      shape: number[],
      dtype: tf.DataType,
      refCount: number,
    ): void {
      super.move(dataId, values, shape, dtype, refCount);
      const data: StoredTensor = this["tensorMap"].get(dataId);
      data.id = this.binding.createTensor(shape, data.dtype, values);
      data.values = null;
    }
  }

  const binding = new NodeBinding(library);
  tf.registerBackend(
    BACKEND,
    () => new Backend(binding, "@tensorflow/tfjs-node-gpu"),
  );
  if (!await tf.setBackend(BACKEND)) {
    throw new Error(`tfjs rejects the backend "${BACKEND}"`);
  }
}

/** What the package's backend holds of a tensor. */
interface StoredTensor {
  /** The library's, or -1 before the tensor is created. */
  id: number;
  /** Its `TF_DataType`. */
  readonly dtype: number;
  /** Values of a tensor that is not created yet. */
  values: tf.backend_util.BackendValues | null;
}

// Both are private in the package's types.

/**
 * The library's ids of some tensors. The backend must be that of the package.
 */
export function tensorIds(tensors: readonly tf.Tensor[]): number[] {
  return (tf.backend() as NodeJSKernelBackend)["getInputTensorIds"](tensors);
}

/** A tfjs tensor for one of the library's. */
export function tensorOf<T extends tf.Tensor = tf.Tensor>(
  metadata: TensorMetadata,
): T {
  return (tf.backend() as NodeJSKernelBackend)["createOutputTensor"](metadata);
}

/**
 * Executes an operation of the library for which the package has no kernel that
 * serves, on the package's backend.
 *
 * @param types Its attributes, all of which are element types
 */
export function libraryOp(
  opName: string,
  types: Readonly<Record<string, DataType>>,
  inputs: readonly tf.Tensor[],
): tf.Tensor {
  const attributes = Object.entries(types).map(([name, type]) => ({
    name,
    type: AttributeType.type,
    value: type,
  }));
  return (tf.backend() as NodeJSKernelBackend)
    .executeSingleOutput(opName, attributes, [...inputs]);
}

/** An operation on tensors by name, and the gradients of its inputs. */
interface DifferentiableOperation {
  readonly inputs: Readonly<Record<string, tf.Tensor>>;
  /** Computes the operation; `save` keeps tensors for its gradient. */
  forwardFunc(
    backend: unknown,
    save: (tensors: tf.Tensor[]) => void,
  ): tf.Tensor;
  backwardsFunc(
    dy: tf.Tensor,
    saved: tf.Tensor[],
  ): Record<string, () => tf.Tensor>;
}

/**
 * Runs an operation that has a gradient of its own.
 *
 * It calls what tfjs-core calls for each of its own operations, which is
 * private there. The public `tf.customGrad()` would compute the gradients of
 * all inputs, and here those of frozen inputs are not even asked for.
 */
export function runDifferentiable(
  operation: DifferentiableOperation,
): tf.Tensor {
  return tf.engine()["runKernelFunc"](operation);
}
