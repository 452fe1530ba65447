import * as tf from "@tensorflow/tfjs-core";
// Registers the gradients of tfjs-core, which its own entry point leaves out.
import "@tensorflow/tfjs";
import "@tensorflow/tfjs-backend-webgpu";
import { webgpuAdapter } from "./webgpu_adapter.ts";

/**
 * Makes WebGPU the backend of tfjs, on the adapter that the runtime prefers.
 *
 * @throws {Error} If the machine has no adapter or tfjs refuses it.
 */
export async function startWebgpu(): Promise<void> {
  if (await webgpuAdapter() === undefined) {
    throw new Error(
      "No WebGPU adapter is found: install a Vulkan driver for the GPU, or use another engine",
    );
  }
  if (!await tf.setBackend("webgpu")) {
    throw new Error(
      "The WebGPU adapter lacks what tfjs needs: use another engine",
    );
  }
  await tf.ready();
}
