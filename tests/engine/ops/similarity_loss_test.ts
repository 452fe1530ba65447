import { assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import "../engine.ts";
import {
  batchLoss,
  type LossName,
  lossNamed,
} from "../../../lib/engine/ops/loss.ts";
import { assertClose, fixture, read } from "../reference.ts";

/** What sentence-transformers computes; see fixtures/similarity.py. */
const { losses } = JSON.parse(
  Deno.readTextFileSync(fixture("references/similarity.json")),
);

/** Numbers of so many different texts. */
const different = (count: number) => Array.from({ length: count }, (_, i) => i);

/** The loss of embeddings, one example after the other, and its gradient. */
function lossAndGradient(
  name: LossName,
  embeddings: readonly (readonly number[])[],
  targets: readonly number[],
  examples: number,
) {
  return tf.valueAndGrad((it: tf.Tensor) =>
    batchLoss(
      name,
      it as tf.Tensor2D,
      tf.tensor2d([...targets], [examples, targets.length / examples]),
    )
  )(tf.tensor2d(embeddings as number[][]));
}

for (
  const { name, loss, sequences } of [
    { name: "cosent", loss: "cosent", sequences: 2 },
    { name: "pairs", loss: "multiple-negatives-ranking", sequences: 2 },
    { name: "negatives", loss: "multiple-negatives-ranking", sequences: 4 },
    {
      name: "symmetricPairs",
      loss: "multiple-negatives-symmetric-ranking",
      sequences: 2,
    },
    {
      name: "symmetricNegatives",
      loss: "multiple-negatives-symmetric-ranking",
      sequences: 3,
    },
  ] as const
) {
  Deno.test(`batchLoss() of ${loss} is that of sentence-transformers, and its gradient: ${name}`, async () => {
    const expected = losses[name];
    const targets = loss === "cosent"
      ? losses.scores
      : different(6 * sequences);
    const { value, grad } = lossAndGradient(
      loss,
      expected.embeddings,
      targets,
      6,
    );
    assertClose(await read(value), [expected.loss], 1e-5, "loss");
    assertClose(await read(grad), expected.gradient.flat(), 1e-4, "gradient");
  });
}

/** Embeddings at these angles, of norm 2. */
function onCircle(angles: readonly number[]): number[][] {
  return angles.map((angle) => [2 * Math.cos(angle), 2 * Math.sin(angle)]);
}

Deno.test("multiple-negatives-ranking takes no text as a negative of an anchor that has it as a positive in another row, or is it", async () => {
  // Anchor, positive and hard negative of each row.
  const texts = [[0, 1, 6], [0, 2, 7], [3, 4, 2], [5, 0, 8]];
  const angles = [0.1, 0.4, 0.9, 1.3, 1.2, 2, 2.2, 2.5, 0.6];
  const cosine = (a: number, b: number) =>
    20 * Math.cos(angles[a]! - angles[b]!);
  const negatives = [
    // 1 and 2 are positives of this anchor, and 0 is its own text.
    [4, 6, 7, 8],
    [4, 6, 7, 8],
    [1, 2, 0, 6, 7, 2, 8],
    [1, 2, 4, 6, 7, 2, 8],
  ];
  let expected = 0;
  for (const [i, [anchor, positive]] of texts.entries()) {
    const own = cosine(anchor!, positive!);
    const all = [own, ...negatives[i]!.map((it) => cosine(anchor!, it))];
    const sum = all.reduce((sum, it) => sum + Math.exp(it - own), 0);
    expected += Math.log(sum) / 4;
  }
  const { value } = lossAndGradient(
    "multiple-negatives-ranking",
    onCircle(texts.flat().map((text) => angles[text]!)),
    texts.flat(),
    4,
  );
  assertClose(await read(value), [expected], 1e-5, "loss");
});

Deno.test("multiple-negatives-ranking takes no text of an anchor's group as its negative, in either direction", async () => {
  // Numbers of the anchor and of its group, 10 or 11.
  const targets = [[0, 10], [1, 10], [2, 11]];
  const angles = [[0.1, 0.5], [0.9, 1.3], [1.2, 2]];
  const cosine = (anchor: number, positive: number) =>
    20 * Math.cos(angles[anchor]![0]! - angles[positive]![1]!);
  const lossOf = (own: number, negatives: readonly number[]) =>
    Math.log1p(negatives.reduce((sum, it) => sum + Math.exp(it - own), 0));
  const rows = [0, 1, 2];
  const isNegative = (a: number) => (b: number) =>
    targets[a]![1] !== targets[b]![1];
  const mean = (values: readonly number[]) =>
    values.reduce((sum, it) => sum + it, 0) / values.length;
  const forward = mean(
    rows.map((i) =>
      lossOf(cosine(i, i), rows.filter(isNegative(i)).map((j) => cosine(i, j)))
    ),
  );
  const given = [onCircle(angles.flat()), targets.flat(), 3] as const;
  const { value } = lossAndGradient("multiple-negatives-ranking", ...given);
  assertClose(await read(value), [forward], 1e-5, "loss");

  const symmetric = mean(rows.map((i) => {
    const negatives = rows.filter(isNegative(i));
    const found = lossOf(cosine(i, i), negatives.map((j) => cosine(i, j)));
    const back = lossOf(cosine(i, i), negatives.map((j) => cosine(j, i)));
    return (found + back) / 2;
  }));
  const both = lossAndGradient(
    "multiple-negatives-symmetric-ranking",
    ...given,
  );
  assertClose(await read(both.value), [symmetric], 1e-5, "symmetric");
});

Deno.test("multiple-negatives-ranking of a batch of equal pairs is 0", async () => {
  for (const symmetric of ["", "-symmetric"] as const) {
    const { value, grad } = lossAndGradient(
      `multiple-negatives${symmetric}-ranking`,
      onCircle([0.1, 0.7, 0.1, 0.7]),
      [0, 1, 0, 1],
      2,
    );
    assertClose(await read(value), [0], 1e-5, "loss");
    assertClose(await read(grad), Array(8).fill(0), 1e-5, "gradient");
  }
});

Deno.test("cosent leaves out pairs without a weight, and is 0 where no score is higher", async () => {
  const embeddings = tf.tensor2d(onCircle([0, 1, 0.5, 0.6, 1, 2.5]));
  const loss = (scores: number[], weights: number[]) =>
    lossNamed("cosent").sum(
      embeddings,
      tf.tensor1d(scores),
      tf.tensor1d(weights),
    );
  const without = loss([1, 2, 9], [0.5, 0.5, 0]);
  const expected = Math.log1p(Math.exp(20 * (Math.cos(1) - Math.cos(0.1))));
  assertClose(await read(without), [expected], 1e-5, "two pairs");
  assertClose(await read(loss([3, 3, 3], [1, 1, 1])), [0], 1e-6, "equal");
});

Deno.test("losses of similarity say that they must see a whole batch", () => {
  for (
    const name of [
      "cosent",
      "multiple-negatives-ranking",
      "multiple-negatives-symmetric-ranking",
    ] as const
  ) assertEquals(lossNamed(name).seesBatch, true);
});
