/** Prints how many MiB of the library's files are resident after its start, and after a function was compiled and called. */
import { assertAlmostEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { activation } from "../../../lib/engine/ops/gelu.ts";
import { trace } from "../../../lib/engine/trace.ts";
import "../engine.ts";

const started = residentMib();
const activated = trace(({ x }: { readonly x: tf.Tensor2D }) => {
  const product = x.matMul(x) as tf.Tensor2D;
  return { value: activation(product, undefined) };
});
const { value } = activated({ x: tf.ones<tf.Rank.R2>([4, 4]) });
assertAlmostEquals(value.dataSync()[0]!, 3.99987, 1e-4);
console.log(JSON.stringify([started, residentMib()]));

function residentMib(): number {
  return Deno.readTextFileSync("/proc/self/smaps")
    .split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)
    .filter((mapping) => mapping.includes("libtensorflow"))
    .reduce((sum, it) => sum + Number(/^Rss: +(\d+)/m.exec(it)![1]), 0) / 1024;
}
