import { assertEquals } from "@std/assert";
import { speedOf } from "../../../lib/engine/training/progress.ts";

Deno.test("speedOf() gives the median of the steps, and what they computed a second", () => {
  const taken = [100, 200, 600].map((milliseconds) => (
    { tokens: 300, flops: 6e9, milliseconds }
  ));
  assertEquals(speedOf(taken), {
    msPerStep: 200,
    tokensPerSecond: 1000,
    flopsPerSecond: 2e10,
  });
});
