import * as tf from "@tensorflow/tfjs-core";
// Registers the gradients of tfjs-core, which its own entry point leaves out.
import "@tensorflow/tfjs";
import "@tensorflow/tfjs-backend-wasm";

/**
 * Makes WebAssembly the backend of tfjs: one thread of the processor, with SIMD.
 *
 * The process must be allowed to read `node_modules`, where the module lies.
 *
 * @throws {Error} If the module cannot be read or the runtime refuses it.
 */
export async function startWasm(): Promise<void> {
  if (!await tf.setBackend("wasm")) {
    throw new Error(
      'The WebAssembly backend of tfjs cannot be started: install the packages anew ("deno install")',
    );
  }
  await tf.ready();
}
