import * as tf from "@tensorflow/tfjs-core";
// Registers the gradients of tfjs-core, which the package does not do by
// itself.
import "@tensorflow/tfjs";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";

/**
 * Makes WebAssembly the backend of tfjs: one CPU thread, with SIMD.
 *
 * @param folder Folder of the package's WebAssembly modules, which the process
 * must be allowed to read; by default, where the package is.
 * @throws {Error} If the module cannot be loaded.
 */
export async function startWasm(folder?: string): Promise<void> {
  if (folder !== undefined) setWasmPaths(`${folder}/`);
  if (!await tf.setBackend("wasm")) {
    throw new Error(
      'Cannot start the WebAssembly backend of tfjs: reinstall the npm packages ("deno install")',
    );
  }
}
