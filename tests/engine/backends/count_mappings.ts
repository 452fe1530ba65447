import * as tf from "@tensorflow/tfjs-core";
import { startWebgpu } from "../../../lib/engine/backends/webgpu.ts";

/** Prints how many memory mappings 3,000 operations leave. */
await startWebgpu(500);
// Smaller tensors would be computed on the processor.
const x = tf.ones([64, 64]);

function mappings(): number {
  return Deno.readTextFileSync("/proc/self/maps").split("\n").length;
}

await tf.add(x, x).data();
const before = mappings();
for (let i = 0; i < 3000; i++) tf.add(x, x).dispose();
await tf.add(x, x).data();
console.log(mappings() - before);
