import * as tf from "@tensorflow/tfjs-core";
// Registers the gradients of tfjs-core, which the package does not do by itself.
import "@tensorflow/tfjs";
import "@tensorflow/tfjs-backend-wasm";

/**
 * Makes WebAssembly the backend of tfjs: one CPU thread, with SIMD.
 *
 * The process must be allowed to read the package's folder, which contains the
 * WebAssembly module.
 *
 * @throws {Error} If the module cannot be loaded.
 */
export async function startWasm(): Promise<void> {
  if (!await tf.setBackend("wasm")) {
    throw new Error(
      'Cannot start the WebAssembly backend of tfjs: reinstall the npm packages ("deno install")',
    );
  }
  await tf.ready();
}
