/**
 * A process for `compiled_test.ts`: calls two functions that are large enough
 * to be compiled, with the folders that it is given, if any, and prints a hash
 * of the results.
 */
import { createHash } from "node:crypto";
import * as tf from "@tensorflow/tfjs-core";
import { selectEngine } from "../../../lib/engine/install/choose.ts";
import { biasGelu } from "../../../lib/engine/ops/gelu.ts";
import { startEngine } from "../../../lib/engine/start.ts";
import { trace } from "../../../lib/engine/trace.ts";

const [compiledBefore, compiledNow] = Deno.args;
const { library } = await selectEngine("tensorflow");
await startEngine(
  {
    engine: "tensorflow",
    device: "cpu",
    bfloat16: false,
    library: library!,
    ...(compiledBefore && { compiledBefore }),
    ...(compiledNow && { compiledNow }),
  },
  { cpus: 1, precision: "f32" },
);
const hash = createHash("sha256");
for (const size of [160, 192]) {
  const x = tf.randomNormal([256, size], 0, 1, "float32", 1);
  const bias = tf.randomNormal([size], 0, 1, "float32", 2);
  const twice = trace((inputs: { x: tf.Tensor; bias: tf.Tensor }) => ({
    y: biasGelu(
      biasGelu(inputs.x as tf.Tensor2D, inputs.bias as tf.Tensor1D),
      inputs.bias as tf.Tensor1D,
    ),
  }));
  for (let i = 0; i < 2; i++) {
    hash.update(twice({ x, bias }).y.dataSync() as Float32Array);
  }
}
console.log(hash.digest("hex"));
