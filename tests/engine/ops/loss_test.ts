import { assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import "../engine.ts";
import { batchLoss, unitWeights } from "../../../lib/engine/ops/loss.ts";
import { problemOf } from "../../../lib/problems/registry.ts";
import { assertClose, fixture, read } from "../reference.ts";

/** Weights for so many classes. */
function balancedWeights(labels: number[], classes: number): number[] {
  const names = Array.from({ length: classes }, (_, i) => `${i}`);
  return problemOf({ problem: "classification", labels: names })
    .balancedWeights!(labels);
}

/** What PyTorch's CrossEntropyLoss and scikit-learn's balanced weights are; see fixtures/class_weights.py. */
const { labels, logits, weights, loss, gradient } = JSON.parse(
  Deno.readTextFileSync(fixture("references/class_weights.json")),
);

Deno.test("batchLoss() with balanced weights of classes is PyTorch's CrossEntropyLoss(weight=), and its gradient", async () => {
  const balanced = balancedWeights(labels, weights.length);
  assertClose(balanced, weights, 1e-12, "weights");
  const ofExamples = labels.map((it: number) => balanced[it]);
  const total = ofExamples.reduce((sum: number, it: number) => sum + it, 0);
  const shares = tf.tensor1d(ofExamples.map((it: number) => it / total));
  const { value, grad } = tf.valueAndGrad((it: tf.Tensor) =>
    batchLoss(
      "cross-entropy",
      it as tf.Tensor2D,
      tf.tensor1d(labels),
      [1],
      shares,
    )
  )(tf.tensor2d(logits));
  assertClose(await read(value), [loss], 1e-6, "loss");
  assertClose(await read(grad), gradient.flat(), 1e-6, "gradient");
});

Deno.test("batchLoss() without weights is the mean, of classes and scores", async () => {
  const given = tf.tensor1d([0.5, 2]);
  const scores = batchLoss("squared-error", tf.tensor2d([[1], [4]]), given);
  assertClose(await read(scores), [(0.25 + 4) / 2], 1e-6, "squared error");
  const even = batchLoss(
    "cross-entropy",
    tf.zeros([4, 2]),
    tf.tensor1d([0, 1, 1, 0]),
  );
  assertClose(await read(even), [Math.LN2], 1e-6, "cross-entropy");
});

Deno.test("batchLoss() of several labels is the mean of PyTorch's BCEWithLogitsLoss(pos_weight=), and its gradient, also of large logits", async () => {
  const logits = [[0.5, -2, 60], [-60, 1.5, 0]];
  const marks = [[1, 0, 1], [1, 1, 0]];
  const positive = [2, 0.5, 3];
  // As the definition has it, in float64: -w y log(p) - (1 - y) log(1 - p).
  const softplus = (x: number) =>
    Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
  let expected = 0;
  const gradient: number[] = [];
  for (const [i, row] of logits.entries()) {
    for (const [k, x] of row.entries()) {
      const mark = marks[i]![k]!;
      const weight = positive[k]!;
      const probability = 1 / (1 + Math.exp(-x));
      expected += weight * mark * softplus(-x) + (1 - mark) * softplus(x);
      gradient.push(
        ((1 - mark) * probability - weight * mark * (1 - probability)) / 6,
      );
    }
  }
  const { value, grad } = tf.valueAndGrad((it: tf.Tensor) =>
    batchLoss(
      "binary-cross-entropy",
      it as tf.Tensor2D,
      tf.tensor2d(marks),
      [1],
      undefined,
      positive,
    )
  )(tf.tensor2d(logits));
  assertClose(await read(value), [expected / 6], 1e-6, "loss");
  assertClose(await read(grad), gradient, 1e-6, "gradient");
});

Deno.test("unitWeights() has no weight where there is no target, and weights units by their class only for a loss of classes", () => {
  const labels = Float32Array.of(1, NaN, 0);
  assertEquals([...unitWeights("cross-entropy", labels, 1, [2, 3])], [3, 0, 2]);
  const marks = Float32Array.of(1, 0, NaN, NaN);
  assertEquals(
    [...unitWeights("binary-cross-entropy", marks, 2, [2, 3])],
    [1, 0],
  );
});

Deno.test("balancedWeights() gives a class without examples no weight, and does not count it", () => {
  assertEquals(balancedWeights([0, 0, 0, 2], 3), [4 / 6, 0, 2]);
});
