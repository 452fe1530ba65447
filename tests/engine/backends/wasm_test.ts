import { assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { startWasm } from "../../../lib/engine/backends/wasm.ts";
import { selectEngine } from "../../../lib/engine/install/choose.ts";
import { checkProductAndGradient } from "./product_and_gradient.ts";

Deno.test("startWasm() makes WebAssembly the backend, gradients included", async () => {
  await startWasm();
  assertEquals(tf.getBackend(), "wasm");
  await checkProductAndGradient();
  assertEquals(tf.memory().numTensors, 0);
});

Deno.test("startWasm() reads nothing but the folder that the choice names", async () => {
  const { read } = await selectEngine("wasm");
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-prompt", `--allow-read=${read.join()}`],
      new URL("start_wasm.ts", import.meta.url).href,
    ],
  }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assertEquals(decode(stdout), "started\n", decode(stderr));
});
