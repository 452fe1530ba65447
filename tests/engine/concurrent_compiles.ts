/**
 * Has two threads run a newly compiled loop of sums at once, so many times:
 *
 *     deno run -A tests/engine/concurrent_compiles.ts LOOPS
 */
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { fused, trace } from "../../lib/engine/trace.ts";
import { tensorflow } from "./engine.ts";

assert(tensorflow !== undefined);
const inputs = [1, 2].map((seed) =>
  tf.randomNormal([1024, 64], 0, 1, "float32", seed)
);
const plain = inputs.map((input) => sumsOf(input).dataSync());
for (let loop = 0; loop < Number(Deno.args[0]); loop++) {
  const compiled = fused(([input]) => [sumsOf(input!)]);
  const both = trace((inputs) => inputs.flatMap((input) => compiled([input])));
  both(inputs).forEach((sums, i) => {
    for (const [row, sum] of sums.dataSync().entries()) {
      assert(Math.abs(sum / plain[i]![row]! - 1) < 1e-5);
    }
    sums.dispose();
  });
  both.dispose();
}
Deno.exit(0);

function sumsOf(input: tf.Tensor): tf.Tensor {
  return tf.sum(tf.exp(input), -1);
}
