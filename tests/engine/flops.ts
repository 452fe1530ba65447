import { assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import {
  type Classifier,
  logitsOf,
  splitParameters,
} from "../../lib/engine/models/classifier.ts";
import {
  forwardFlops,
  trainingFlops,
} from "../../lib/engine/models/outline.ts";
import {
  type ModelRanks,
  rankCount,
} from "../../lib/engine/models/pass_weights.ts";
import { batchLoss } from "../../lib/engine/ops/loss.ts";
import { lossAndGradient } from "./logits.ts";
import { type Reference, referenceInput } from "./reference.ts";

/** Asserts that the operations counted of the padded batch are those of the products that are computed. */
export async function assertProfiledFlops(
  reference: Reference,
  classifier: Classifier,
  values: Float32Array,
  ranks: ModelRanks,
): Promise<void> {
  const input = referenceInput(reference, "padded");
  const count = rankCount(ranks);
  const labels = tf.zeros([count * input.ids.shape[0]]) as tf.Tensor1D;
  const parameters = splitParameters(tf.tensor1d(values), classifier.layout);
  assertEquals(
    await productFlops(() => logitsOf(classifier, parameters, input, ranks)),
    forwardFlops(classifier, input.ids.shape, count),
    "forward",
  );
  assertEquals(
    await productFlops(() =>
      lossAndGradient(
        classifier,
        values,
        input,
        ranks,
        (logits) => batchLoss("cross-entropy", logits, labels),
      )
    ),
    trainingFlops(classifier, input.ids.shape, count),
    "training",
  );
}

/** Floating-point operations of all matrix products that a function computes. */
export async function productFlops(f: () => unknown): Promise<number> {
  const { kernels } = await tf.profile(async () => {
    await f();
    return [];
  });
  return kernels.filter(({ name }) => name === "BatchMatMul")
    .reduce((sum, { inputShapes, outputShapes }) => {
      const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b);
      const output = outputShapes[0]!;
      // [..., m, k] x [..., k, n] -> [..., m, n], however its factors lie.
      const inner = size(inputShapes[0]!) / (size(output) / output.at(-1)!);
      return sum + 2 * size(output) * inner;
    }, 0);
}
