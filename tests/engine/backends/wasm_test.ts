import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { startWasm } from "../../../lib/engine/backends/wasm.ts";
import { checkProductAndGradient } from "./product_and_gradient.ts";

Deno.test("startWasm() makes WebAssembly the backend, gradients included", async () => {
  await startWasm();
  assert.equal(tf.getBackend(), "wasm");
  await checkProductAndGradient();
  assert.equal(tf.memory().numTensors, 0);
});
