/**
 * Makes two threads run newly compiled sums concurrently, LOOPS times:
 *
 *     deno run -A tests/engine/tensorflow/concurrent_compiles.ts LOOPS
 */
import { assert, assertAlmostEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { fused, trace } from "../../../lib/engine/trace.ts";
import { tensorflow } from "../engine.ts";

assert(tensorflow !== undefined);
const inputs = [1, 2].map((seed) =>
  tf.randomNormal([256, 160], 0, 1, "float32", seed)
);
const plain = inputs.flatMap((input) =>
  reduce(input).map((values) => values.dataSync())
);
for (let loop = 0; loop < Number(Deno.args[0]); loop++) {
  const compiled = fused(({ input }: Record<"input", tf.Tensor>) =>
    named(reduce(input))
  );
  const both = trace((inputs: Record<string, tf.Tensor>) =>
    named(
      Object.values(inputs).flatMap((input) =>
        Object.values(compiled({ input }))
      ),
    )
  );
  Object.values(both(named(inputs))).forEach((values, i) => {
    for (const [j, value] of values.dataSync().entries()) {
      const expected = plain[i]![j]!;
      assertAlmostEquals(
        value,
        expected,
        1e-3,
        `loop ${loop}: ${value}, not ${expected}`,
      );
    }
    values.dispose();
  });
  both.dispose();
}
Deno.exit(0);

/** Maximum of each row, sum of each column, and total sum. */
function reduce(input: tf.Tensor): tf.Tensor[] {
  return [tf.max(input, -1), tf.sum(input, 0), tf.sum(input)];
}

/** Tensors by names that keep their order. */
function named(tensors: readonly tf.Tensor[]): Record<string, tf.Tensor> {
  return Object.fromEntries(tensors.map((tensor, i) => [`tensor${i}`, tensor]));
}
