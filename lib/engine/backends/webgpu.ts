import * as tf from "@tensorflow/tfjs-core";
// Registers the gradients of tfjs-core, which its own entry point leaves out.
import "@tensorflow/tfjs";
import "@tensorflow/tfjs-backend-webgpu";
import { webgpuAdapter } from "../install/probe.ts";

/** Bind groups after which unused ones are freed; one step of a tiny model makes about 1,000. */
const BIND_GROUPS = 20_000;

/**
 * Makes WebGPU the backend of tfjs, on the adapter that the runtime prefers.
 *
 * @throws {Error} If the machine has no adapter or tfjs refuses it.
 */
export async function startWebgpu(bindGroups = BIND_GROUPS): Promise<void> {
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
  const { device } = tf.backend() as unknown as { device: GPUDevice };
  freeBindGroups(device, bindGroups);
}

/**
 * Collects garbage each time that so many bind groups were made, if the process
 * has `--expose-gc`. A bind group lives until its JavaScript object is collected,
 * which is too small for that to happen soon; some drivers map a page for each,
 * and a process that runs out of mappings (65,530 on Linux) crashes.
 */
function freeBindGroups(device: GPUDevice, every: number): void {
  const { gc } = globalThis as { gc?: () => void };
  if (gc === undefined) return;
  const createBindGroup = device.createBindGroup.bind(device);
  let made = 0;
  device.createBindGroup = (descriptor) => {
    if (++made % every === 0) gc();
    return createBindGroup(descriptor);
  };
}
