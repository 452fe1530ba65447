import { assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import "./engine.ts";
import type { Classifier } from "../../lib/engine/classifier.ts";
import { logitsOf } from "../../lib/engine/classifier.ts";
import { forwardFlops, trainingFlops } from "../../lib/engine/flops.ts";
import { crossEntropy } from "../../lib/engine/ops/loss.ts";
import {
  initialParameters,
  parameterLayout,
  splitParameters,
} from "../../lib/engine/parameters.ts";
import { seededRandom } from "../../lib/engine/random.ts";
import { evaluationFlops } from "../../lib/engine/evaluation/rank_evaluation.ts";
import { rankScale } from "../../lib/engine/ranks/rank_vectors.ts";
import { loadEncoder } from "../../lib/engine/weights.ts";
import { openReference, referenceInput } from "./reference.ts";
import { fullClassifier, headClassifier, noRanks } from "./without_adapters.ts";

Deno.test("trainingFlops() of RoBERTa-base at 16 x 64 is what a count by hand gives", () => {
  const config = {
    ...openReference("roberta").config,
    hidden: 768,
    layers: 12,
    intermediate: 3072,
  };
  const classifier = { config, layout: parameterLayout(config, 8, 2) };
  const tokens = 16 * 64;
  // Layers 1 to 11: query, key, value; their adapters, down to 2 x 8 rows and up again;
  // scores and weighted values; output projection; the two of the feed-forward network.
  const projection = tokens * 768 * 2304;
  const down = tokens * 768 * 16;
  const up = tokens * 16 * 2304;
  const attention = 2 * 16 * 64 * 64 * 768;
  const rest = tokens * (768 * 768 + 2 * 768 * 3072);
  const layer = projection + down + up + attention + rest;
  // Layer 12: the query of 16 positions only, keys and values of all.
  const pooled = 16 * (768 * 768 + 768 * 8 + 8 * 768) +
    tokens * (768 * 1536 + 768 * 8 + 8 * 1536) +
    2 * 16 * 64 * 768 + 16 * (768 * 768 + 2 * 768 * 3072);
  const head = 16 * (768 * 768 + 768 * 2);
  const forward = 2 * (11 * layer + pooled + head);
  assertEquals(forwardFlops(classifier, [16, 64]), forward);

  // Backward: each gradient is a product of the same size. Frozen weights have
  // one, of their input; adapters have that and their own; attention has two
  // for each of its products; layer 1 needs no gradient of its input.
  const layerBack = projection + 2 * down + 2 * up + 2 * attention + rest;
  const firstBack = layerBack - projection - down;
  const pooledBack = 16 * (768 * 768 + 2 * 768 * 8 + 2 * 8 * 768) +
    tokens * (768 * 1536 + 2 * 768 * 8 + 2 * 8 * 1536) +
    4 * 16 * 64 * 768 + 16 * (768 * 768 + 2 * 768 * 3072);
  const back = 2 * (firstBack + 10 * layerBack + pooledBack + 2 * head);
  assertEquals(trainingFlops(classifier, [16, 64]), forward + back);
});

for (const architecture of ["roberta", "bert"] as const) {
  for (const groups of [1, 3]) {
    Deno.test(`forwardFlops() and trainingFlops() count the products that the engine computes, ${architecture}, ${groups} ranks`, async () => {
      const reference = openReference(architecture);
      const { config, model } = reference;
      const layout = parameterLayout(config, 4, 2);
      const classifier: Classifier = {
        config,
        weights: loadEncoder(model, config, { pooledLast: true }),
        layout,
      };
      const start = initialParameters(
        layout,
        undefined,
        seededRandom(0, "init"),
      );
      const parts = splitParameters(tf.tensor1d(start), layout);
      const input = referenceInput(reference, "padded");
      const ranks = {
        scale: tf.tensor2d(
          Array.from({ length: groups }, (_, i) => [...rankScale(i + 1, 16, 4)])
            .flat(),
          [groups, 4],
        ),
        trained: tf.ones([4]) as tf.Tensor1D,
      };
      const labels = tf.zeros([groups * input.ids.shape[0]]) as tf.Tensor1D;
      const logits = (...parts: tf.Tensor[]) =>
        logitsOf(classifier, parts, input, ranks, undefined);
      assertEquals(
        await productFlops(() => logits(...parts)),
        forwardFlops(classifier, input.ids.shape, groups),
      );
      assertEquals(
        await productFlops(() =>
          tf.valueAndGrads((...parts) =>
            crossEntropy(logits(...parts), labels)
          )(parts).value
        ),
        trainingFlops(classifier, input.ids.shape, groups),
      );
    });
  }
}

for (
  const [name, make] of Object.entries({
    "all weights": fullClassifier,
    "the head alone": headClassifier,
  })
) {
  Deno.test(`forwardFlops() and trainingFlops() count the products of training ${name}`, async () => {
    const reference = openReference("roberta");
    const { classifier, values } = make(reference);
    const parts = splitParameters(tf.tensor1d(values), classifier.layout);
    const input = referenceInput(reference, "padded");
    const labels = tf.zeros([input.ids.shape[0]]) as tf.Tensor1D;
    const logits = (...parts: tf.Tensor[]) =>
      logitsOf(classifier, parts, input, noRanks(), undefined);
    assertEquals(
      await productFlops(() => logits(...parts)),
      forwardFlops(classifier, input.ids.shape),
    );
    assertEquals(
      await productFlops(() =>
        tf.valueAndGrads((...parts) => crossEntropy(logits(...parts), labels))(
          parts,
        ).value
      ),
      trainingFlops(classifier, input.ids.shape),
    );
  });
}

Deno.test("evaluationFlops() sums the batches of all ranks, each padded as it is computed", () => {
  const { config } = openReference("roberta");
  const classifier = { config, layout: parameterLayout(config, 4, 2) };
  // Of 20, 9, 3 and 8 tokens.
  const offsets = Int32Array.of(0, 20, 29, 32, 40);
  const examples = {
    ids: new Int32Array(40),
    types: new Uint8Array(40),
    offsets,
    labels: new Float32Array(4),
  };
  const flops = (passes: number) =>
    evaluationFlops(classifier, examples, {
      ranks: [1, 2, 4],
      batchSize: 2,
      passes,
    });
  const at = (length: number) => forwardFlops(classifier, [2, length], 3);
  assertEquals(flops(1e6), at(24) + at(8));
  // So small a model is evaluated sooner than a second length is prepared.
  assertEquals(flops(1), 2 * at(24));
});

/** Floating-point operations of all matrix products that a function has computed. */
async function productFlops(f: () => tf.Tensor): Promise<number> {
  const { kernels } = await tf.profile(() => tf.tidy(f));
  return kernels.filter(({ name }) => name === "BatchMatMul")
    .reduce((sum, { inputShapes, outputShapes }) => {
      const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b);
      const output = outputShapes[0]!;
      // [..., m, k] x [..., k, n] -> [..., m, n], however its factors lie.
      const inner = size(inputShapes[0]!) / (size(output) / output.at(-1)!);
      return sum + 2 * size(output) * inner;
    }, 0);
}
