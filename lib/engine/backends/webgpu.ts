import * as tf from "@tensorflow/tfjs-core";
// Registers the gradients of tfjs-core, which the package does not do by
// itself.
import "@tensorflow/tfjs";
import type { WebGPUBackend } from "@tensorflow/tfjs-backend-webgpu";
import "@tensorflow/tfjs-backend-webgpu";

/**
 * Number of new bind groups after which unused ones are freed. A step of a tiny
 * model creates about 1,000.
 */
const BIND_GROUPS = 20_000;

/**
 * Makes WebGPU the backend of tfjs, on the adapter that the runtime prefers.
 *
 * @throws {Error} If there is no adapter, or tfjs rejects it.
 */
export async function startWebgpu(bindGroups = BIND_GROUPS): Promise<void> {
  if (!await navigator.gpu?.requestAdapter()) {
    throw new Error(
      "No WebGPU adapter was found: install a Vulkan driver for the GPU, or use another engine (--engine wasm)",
    );
  }
  if (!await tf.setBackend("webgpu")) {
    throw new Error(
      "tfjs cannot use this machine's WebGPU adapter: use another engine (--engine wasm)",
    );
  }
  const { device } = tf.backend() as WebGPUBackend;
  freeBindGroups(device, bindGroups);
}

/**
 * Collects garbage whenever `every` bind groups have been created, if the
 * process runs with `--expose-gc`. A bind group lives until its JavaScript
 * object is collected, and these are too small to trigger a collection soon.
 * Some drivers map a page for each bind group, and a process that runs out of
 * mappings (65,530 on Linux) crashes.
 */
function freeBindGroups(device: GPUDevice, every: number): void {
  const { gc } = globalThis as { gc?: () => void };
  if (gc === undefined) return;
  const createBindGroup = device.createBindGroup.bind(device);
  let created = 0;
  device.createBindGroup = (descriptor) => {
    created++;
    if (created % every === 0) gc();
    return createBindGroup(descriptor);
  };
}
