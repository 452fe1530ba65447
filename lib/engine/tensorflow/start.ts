import type { KernelBackend } from "@tensorflow/tfjs-core";
import { TensorflowBinding } from "./binding.ts";
import { Status } from "./c_api.ts";
import { type CompiledFolders, CompiledFunctions } from "./compiled.ts";
import {
  type ContextOptions,
  type Device,
  listDevices,
  openContext,
  openLibtensorflow,
} from "./open.ts";

/** The running library, backend "tensorflow" of tfjs. */
export interface Tensorflow {
  readonly binding: TensorflowBinding;
  readonly devices: readonly Device[];
  /** Number of parts of a computation that run concurrently. */
  readonly lanes: number;
}

/**
 * Loads libtensorflow from `folder` and makes it the backend of tfjs.
 *
 * @param compiled Where compiled functions are kept; by default each process compiles its own.
 * @throws {Error} If the library cannot be loaded or tfjs rejects the backend.
 */
export async function startTensorflow(
  folder: string,
  options: ContextOptions,
  compiled?: CompiledFolders,
): Promise<Tensorflow> {
  const library = openLibtensorflow(
    folder,
    compiled && CompiledFunctions.environment(compiled),
  );
  const status = new Status(library);
  const context = openContext(library, status, options);
  const devices = listDevices(library, status, context);
  const binding = new TensorflowBinding(
    library,
    status,
    context,
    devices.some(({ type }) => type === "GPU"),
    compiled && new CompiledFunctions(compiled),
  );
  // Imported here, since other engines do not need these packages.
  const { NodeJSKernelBackend } = await import("./kernels.ts");
  const tf = await import("@tensorflow/tfjs-core");
  tf.registerBackend("tensorflow", () => {
    const backend = new NodeJSKernelBackend(
      binding,
      "@tensorflow/tfjs-node-gpu",
    );
    backend.write = writeAtOnce(backend, binding);
    return backend as unknown as KernelBackend;
  });
  if (!await tf.setBackend("tensorflow")) {
    throw new Error('tfjs rejects the backend "tensorflow"');
  }
  await tf.ready();
  return { binding, devices, lanes: options.interOpThreads };
}

/**
 * Replaces `write()` of tfjs-node's backend, which creates a tensor only at its
 * first use. If that were inside a trace, a tensor from outside of it would
 * become a constant of the graph.
 */
function writeAtOnce(
  backend: {
    tensorMap: { set(dataId: object, data: object): void };
    getDTypeInteger(dtype: string): number;
  },
  binding: TensorflowBinding,
): (values: ArrayLike<number>, shape: number[], dtype: string) => object {
  return (values, shape, dtypeName) => {
    const dataId = {};
    const dtype = backend.getDTypeInteger(dtypeName);
    const id = binding.createTensor(shape, dtype, values);
    backend.tensorMap.set(dataId, {
      shape,
      dtype,
      values: null,
      id,
      refCount: 1,
    });
    return dataId;
  };
}
