import { assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { ReportWindow } from "../../../lib/engine/training/progress.ts";
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
