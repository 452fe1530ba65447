import { assert } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import "../engine.ts";
import { dora } from "../../../lib/engine/adapters/dora.ts";
import { LORA_A, LORA_B } from "../../../lib/engine/adapters/lora.ts";
import { mergeAdapter } from "../../../lib/engine/adapters/registry.ts";
import { rankScale, scaleAt } from "../../../lib/engine/adapters/scale.ts";
import { adaptedLinear } from "../../../lib/engine/ops/adapted_linear.ts";
import { loadClassifier } from "../../../lib/engine/models/classifier.ts";
import { startValues } from "../../../lib/engine/models/parameters.ts";
import { normal, seededRandom } from "../../../lib/engine/random.ts";
import { assertProfiledFlops } from "../flops.ts";
import { ranksAt } from "../logits.ts";
import { assertClose, openReference, read } from "../reference.ts";

const [rows, inputs, rank, alpha] = [3, 5, 4, 8];
const scaling = "rank";
/** Widths of the modules of a product, of which the first and the last are adapted. */
const widths = [4, 3, 2] as const;
const outputs = widths[0] + widths[1] + widths[2];
const places = [{ offset: 0, width: 4 }, { offset: 7, width: 2 }] as const;

const random = seededRandom(5, "dora");
const drawn = (...shape: number[]) =>
  Float32Array.from(
    { length: shape.reduce((a, b) => a * b, 1) },
    () => normal(random),
  );
const weight = drawn(outputs, inputs);
const bias = drawn(outputs);
/** Rows of two ranks. */
const x = drawn(2 * rows, inputs);
const adapters = places.map(({ width }) => ({
  a: drawn(rank, inputs),
  /** A rank is a row. */
  b: drawn(rank, width),
  m: drawn(width),
}));

/** Length of row `out` of `W + s B A`. */
function lengthAt(place: number, row: number, b: number): number {
  const { a, b: factor } = adapters[place]!;
  const { offset, width } = places[place]!;
  const scale = scaleAt(b, { rank, alpha, scaling });
  return Math.hypot(...Array.from({ length: inputs }, (_, i) => {
    let sum = weight[(offset + row) * inputs + i]!;
    for (let k = 0; k < b; k++) {
      sum += scale * factor[k * width + row]! * a[k * inputs + i]!;
    }
    return sum;
  }));
}

Deno.test("adaptedLinear() of a DoRA has the values and gradients of the formula, with a norm of no gradient, at several ranks and modules", async () => {
  const ranks = [1, 4];
  const scales = ranks.map((b) => rankScale(b, { rank, alpha, scaling }));
  const scale = tf.tensor2d(scales.flatMap((it) => [...it]), [2, rank]);
  const frozen = tf.tensor2d(weight, [outputs, inputs]);
  const gradientMask = tf.ones([rank]) as tf.Tensor1D;
  const given = [
    tf.tensor2d(x, [2 * rows, inputs]),
    ...adapters.flatMap(({ a, b, m }) => [
      tf.tensor2d(a, [rank, inputs]),
      tf.tensor2d(b, [rank, m.length]),
      tf.tensor1d(m),
    ]),
  ];
  const upstream = tf.tensor2d(drawn(2 * rows, outputs), [2 * rows, outputs]);
  const own = (x: tf.Tensor, ...of: tf.Tensor[]) =>
    adaptedLinear(
      x as tf.Tensor2D,
      frozen,
      places.map((place, i) => {
        const [a, b, m] = of.slice(3 * i) as [tf.Tensor, tf.Tensor, tf.Tensor];
        const factors = dora.factors((suffix) =>
          suffix === LORA_A ? a : suffix === LORA_B ? b : m
        );
        return { ...factors, ...place };
      }),
      {
        ranks: { scale, gradientMask },
        bias: tf.tensor1d(bias),
        rows,
      },
    );
  const expected = (x: tf.Tensor, ...of: tf.Tensor[]) => {
    const atRanks = ranks.map((b, g) => {
      const ofRank = tf.slice(x, [g * rows, 0], [rows, inputs]) as tf.Tensor2D;
      const parts = tf.split(frozen, [...widths]).map((weight) =>
        tf.matMul(ofRank, weight as tf.Tensor2D, false, true) as tf.Tensor
      );
      places.forEach(({ width }, i) => {
        const [factorA, factorB, m] = of.slice(3 * i) as [
          tf.Tensor2D,
          tf.Tensor2D,
          tf.Tensor1D,
        ];
        const used = tf.mul(
          tf.matMul(ofRank, factorA, false, true),
          tf.tensor1d(scales[g]!),
        );
        const turned = tf.add(parts[2 * i]!, tf.matMul(used, factorB));
        const lengths = Array.from(
          { length: width },
          (_, row) => lengthAt(i, row, b),
        );
        parts[2 * i] = tf.mul(turned, tf.div(m, lengths));
      });
      return tf.add(tf.concat(parts, 1), tf.tensor1d(bias));
    });
    return tf.concat(atRanks, 0);
  };
  const results = await Promise.all([own, expected].map(async (f) => {
    const { value, grads } = tf.valueAndGrads((...given) =>
      tf.sum(tf.mul(f(...given as [tf.Tensor]), upstream))
    )(given);
    const y = f(...given as [tf.Tensor]);
    return await Promise.all([y, value, ...grads].map(read));
  }));
  results[0]!.forEach((found, i) => {
    assert(found.some((value) => Math.abs(value) > 0.1));
    assertClose(found, results[1]![i]!, 1e-3, `result ${i}`);
  });
});

Deno.test("dora.merge() gives each row the trained length", () => {
  const merged = mergeAdapter(
    dora,
    { "m.weight": { shape: [2, inputs], values: weight.slice(7 * inputs) } },
    {
      [`m.${LORA_A}`]: { shape: [rank, inputs], values: adapters[1]!.a },
      [`m.${LORA_B}`]: {
        shape: [2, rank],
        values: Float32Array.from(
          { length: 2 * rank },
          (_, i) => adapters[1]!.b[i % rank * 2 + Math.floor(i / rank)]!,
        ),
      },
      "m.lora_magnitude_vector": { shape: [2], values: adapters[1]!.m },
    },
    scaleAt(rank, { rank, alpha, scaling }),
  );
  const { values } = merged["m.weight"]!;
  const lengths = [0, 1].map((row) =>
    Math.hypot(...values.slice(row * inputs, (row + 1) * inputs))
  );
  assertClose(lengths, adapters[1]!.m.map(Math.abs), 1e-6, "lengths");
});

for (const ranks of [[3], [1, 2, 3, 4]]) {
  Deno.test(`forwardFlops() and trainingFlops() count the products of a DoRA, ${ranks.length} ranks`, async () => {
    const reference = openReference("bert");
    const { file, model } = reference;
    const classifier = loadClassifier(file, model, 2, {
      adapter: "dora",
      rank,
      targetModules: "all-linear",
    });
    await assertProfiledFlops(
      reference,
      classifier,
      startValues(file, classifier, 0),
      ranksAt(ranks, alpha, rank),
    );
  });
}
