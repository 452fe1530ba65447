import { assertEquals } from "@std/assert";
import { predictionsOf } from "../../lib/glue/predictions.ts";

Deno.test("predictionsOf() takes the class with the largest logit, the first of equals", () => {
  const logits = Float32Array.of(0, 2, 1, 3, 3, -1, -2, -2, -2, -5, -4, -3);
  assertEquals(predictionsOf(logits, 3), Float32Array.of(1, 0, 0, 2));
});

Deno.test("predictionsOf() takes a single output as the score itself", () => {
  const logits = Float32Array.of(0.5, -1, 6);
  assertEquals(predictionsOf(logits, 1), logits);
});
