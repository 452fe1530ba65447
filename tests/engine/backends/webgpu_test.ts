import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { startWebgpu } from "../../../lib/engine/backends/webgpu.ts";
import { webgpuAdapter } from "../../../lib/engine/backends/webgpu_adapter.ts";
import { checkProductAndGradient } from "./product_and_gradient.ts";

const adapter = await webgpuAdapter();

Deno.test({
  name: "startWebgpu() makes WebGPU the backend, gradients included",
  ignore: adapter === undefined,
  fn: async () => {
    await startWebgpu();
    assert.equal(tf.getBackend(), "webgpu");
    await checkProductAndGradient();
    assert.equal(tf.memory().numTensors, 0);
  },
});

Deno.test({
  name: "startWebgpu() names the remedy when there is no adapter",
  ignore: adapter !== undefined,
  fn: () =>
    assert.rejects(
      startWebgpu,
      /No WebGPU adapter is found: install a Vulkan driver/,
    ),
});
