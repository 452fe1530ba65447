import * as tf from "@tensorflow/tfjs-core";
import { tokenLosses } from "../../../lib/engine/ops/vocabulary.ts";
import { LOSSES } from "../../../lib/engine/ops/loss.ts";
import { type Named, trace } from "../../../lib/engine/trace.ts";
import "../engine.ts";
import { assertClose, read } from "../reference.ts";

/** A vocabulary of which a block has 4 rows. */
const VOCABULARY = 2 ** 21;

Deno.test("tokenLosses() in several blocks has the losses and gradients of all logits", async () => {
  const states = tf.randomNormal([10, 3], 0, 1, "float32", 1) as tf.Tensor2D;
  const table = tf.randomNormal(
    [VOCABULARY, 3],
    0,
    1,
    "float32",
    2,
  ) as tf.Tensor2D;
  const next = tf.tensor1d(
    Int32Array.from({ length: 10 }, (_, i) => (i * 7919 * 31) % VOCABULARY),
    "int32",
  );
  const weights = tf.tensor1d(
    Float32Array.from({ length: 10 }, (_, i) => i % 3 / 10),
  );
  const step = trace(({ states, table, next, weights }: Named) => {
    const { value, grads: [dStates] } = tf.valueAndGrads((states) =>
      LOSSES["next-token"].sum(
        tokenLosses(
          states as tf.Tensor2D,
          table as tf.Tensor2D,
          next as tf.Tensor1D,
        ),
        next!,
        weights!,
      )
    )([states!]);
    return { value, dStates };
  });
  const found = step({ states, table, next, weights });
  const expected = tf.valueAndGrads((states) =>
    LOSSES["cross-entropy"].sum(
      tf.matMul(states as tf.Tensor2D, table, false, true),
      next,
      weights,
    )
  )([states]);
  assertClose(
    await read(found.value!),
    await read(expected.value),
    1e-4,
    "loss",
  );
  assertClose(
    await read(found.dStates!),
    await read(expected.grads[0]!),
    1e-5,
    "gradient",
  );
  step.dispose();
  tf.dispose([
    { ...found },
    expected.value,
    expected.grads,
    states,
    table,
    next,
    weights,
  ]);
});
