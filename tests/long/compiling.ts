/**
 * A process for `compiled_test.ts`: traces two functions that call another some
 * times, which is large enough to be compiled, with the folders that it is
 * given, if any. Prints a hash of the results of the first two calls, and the
 * number of files that the library wrote or was given.
 */
import { createHash } from "node:crypto";
import * as tf from "@tensorflow/tfjs-core";
import { selectEngine } from "../../lib/engine/install/choose.ts";
import { activation } from "../../lib/engine/ops/gelu.ts";
import { startEngine } from "../../lib/engine/start.ts";
import { trace } from "../../lib/engine/trace.ts";

const [times, compiledBefore, compiledNow] = Deno.args;
let files = 0;
const { removeSync } = Deno;
Deno.removeSync = (path, options) => {
  files++;
  removeSync(path, options);
};
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
  const repeated = trace(({ x, bias }: Record<"x" | "bias", tf.Tensor>) => {
    const results = [x];
    for (let i = 0; i < Number(times); i++) {
      results.push(
        activation(results.at(-1) as tf.Tensor2D, bias as tf.Tensor1D),
      );
    }
    return { twice: results[2], last: results.at(-1) };
  });
  for (let i = 0; i < 2; i++) {
    hash.update(repeated({ x, bias }).twice!.dataSync() as Float32Array);
  }
}
console.log(hash.digest("hex"), files);
