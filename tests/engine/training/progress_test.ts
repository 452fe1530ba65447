import { assert, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import {
  measureProductPeak,
  ReportWindow,
} from "../../../lib/engine/training/progress.ts";
import "../engine.ts";

Deno.test("ReportWindow gives the speed of the steps since the last report", () => {
  const window = new ReportWindow();
  const add = (milliseconds: number) =>
    window.add({
      step: 0,
      loss: tf.scalar(1),
      tokens: 300,
      flops: 6e9,
      milliseconds,
    });
  for (const milliseconds of [100, 200, 600]) add(milliseconds);
  assertEquals(window.rates(), {
    msPerStep: 200,
    tokensPerSecond: 1000,
    flopsPerSecond: 2e10,
  });
  add(500);
  assertEquals(window.rates().flopsPerSecond, 1.2e10);
  window.dispose();
});

Deno.test("measureProductPeak() is no slower than the same product timed separately", async () => {
  const weight = tf.ones([1024, 256]) as tf.Tensor2D;
  const x = tf.ones([2048, 256]) as tf.Tensor2D;
  const started = performance.now();
  const count = 10;
  for (let i = 0; i < count; i++) {
    tf.tidy(() => tf.matMul(x, weight, false, true).dataSync());
  }
  const seconds = (performance.now() - started) / 1000;
  const held = tf.memory().numTensors;
  const tensors = new Map([
    ["small.weight", [256, 256]],
    ["large.weight", [1024, 256]],
  ]);
  const peak = await measureProductPeak({ tensors }, ["small", "large"]);
  assertEquals(tf.memory().numTensors, held);
  // Half of it, since other programs may run meanwhile.
  const alone = count * 2 * 2048 * 1024 * 256 / seconds;
  assert(peak > alone / 2, `${peak} against ${alone}`);
});
