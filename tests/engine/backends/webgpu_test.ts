import { assert, assertEquals, assertRejects } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { startWebgpu } from "../../../lib/engine/backends/webgpu.ts";
import { webgpuAdapter } from "../../../lib/engine/install/probe.ts";
import { selectEngine } from "../../../lib/engine/install/choose.ts";
import { checkProductAndGradient } from "./product_and_gradient.ts";

const adapter = await webgpuAdapter();

Deno.test({
  name: "startWebgpu() makes WebGPU the backend, gradients included",
  ignore: adapter === undefined,
  fn: async () => {
    await startWebgpu();
    assertEquals(tf.getBackend(), "webgpu");
    await checkProductAndGradient();
    assertEquals(tf.memory().numTensors, 0);
  },
});

Deno.test({
  name: "startWebgpu() names the remedy if there is no adapter",
  ignore: adapter !== undefined,
  fn: async () => {
    await assertRejects(
      startWebgpu,
      Error,
      "No WebGPU adapter was found: install a Vulkan driver",
    );
  },
});

Deno.test({
  name:
    "startWebgpu() keeps bind groups from using up the mappings of a process",
  ignore: !adapter?.software || Deno.build.os !== "linux",
  fn: async () => {
    const { flags } = await selectEngine("webgpu");
    const { success, stdout, stderr } = await new Deno.Command(
      Deno.execPath(),
      {
        args: [
          ...["run", "--quiet", "-A", ...flags],
          new URL("count_mappings.ts", import.meta.url).href,
        ],
      },
    ).output();
    const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    assert(success, decode(stderr));
    // At most the 500 that it lets gather; without collection one for each operation.
    assert(Number(decode(stdout)) < 1000, decode(stdout));
  },
});
