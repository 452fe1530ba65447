import type { KernelBackend } from "@tensorflow/tfjs-core";
import { TensorflowBinding } from "./binding.ts";
import { type CompiledFolders, CompiledFunctions } from "./compiled.ts";
import {
  type ContextOptions,
  listDevices,
  openContext,
  openLibtensorflow,
} from "./open.ts";

/** The running library, backend "tensorflow" of tfjs. */
export interface Tensorflow {
  readonly binding: TensorflowBinding;
  /** Types of its devices: `["CPU", "GPU"]`. */
  readonly devices: readonly string[];
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
  const context = openContext(library, options);
  const devices = listDevices(library, context);
  const binding = new TensorflowBinding(
    library,
    context,
    devices.includes("GPU"),
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
    // tfjs-node creates a tensor only at its first use. If that were inside a
    // trace, a tensor from outside of it would become a constant of the graph.
    const { write } = backend;
    backend.write = (values, shape, dtype) => {
      const dataId = write.call(backend, values, shape, dtype);
      const data = backend.tensorMap.get(dataId);
      data.id = binding.createTensor(shape, data.dtype, values);
      data.values = null;
      return dataId;
    };
    return backend as unknown as KernelBackend;
  });
  if (!await tf.setBackend("tensorflow")) {
    throw new Error('tfjs rejects the backend "tensorflow"');
  }
  await tf.ready();
  return { binding, devices, lanes: options.interOpThreads };
}
