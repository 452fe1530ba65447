import { assertAlmostEquals, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { tensorflow } from "../engine.ts";
import { attention } from "../../../lib/engine/ops/attention.ts";
import { dropout } from "../../../lib/engine/ops/dropout.ts";
import { rotaryFrequencies } from "../../../lib/engine/models/config.ts";
import { activation } from "../../../lib/engine/ops/gelu.ts";
import { layerNorm } from "../../../lib/engine/ops/layer_norm.ts";
import {
  disentangle,
  rotary,
  rotaryAngles,
} from "../../../lib/engine/ops/positions.ts";
import { type Named, trace } from "../../../lib/engine/trace.ts";
import { assertClose, assertSameBits, read } from "../reference.ts";

type Tensors = readonly tf.Tensor[];

/** Random tensors, the same at every call. */
function random(...shapes: number[][]): tf.Tensor[] {
  return shapes.map((shape, i) => tf.randomNormal(shape, 0, 1, "float32", i));
}

const keys = () =>
  tf.unstack(tf.tensor2d([[1, 2], [3, 4]], [2, 2], "int32")).values();
const dropsHalf = () => ({ rate: 0.5, keys: keys() });
const norm = ([gamma, beta]: Tensors) => ({
  gamma: gamma as tf.Tensor1D,
  beta: beta as tf.Tensor1D,
  epsilon: 1e-5,
});

/** What is added to the scores of sequences of these lengths, padded to 100. */
function paddingOf(lengths: readonly number[]): tf.Tensor4D {
  const values = lengths.flatMap((length) =>
    Array.from({ length: 100 }, (_, i) => i < length ? 0 : -1e9)
  );
  return tf.tensor(values, [lengths.length, 1, 1, 100]);
}

/** Operations large enough to be compiled, and the same from tfjs's own operations, with its own gradients. */
const operations: Record<string, {
  inputs: number[][];
  /** Number of inputs whose gradient is compared, 1 by default. */
  trained?: number;
  /** 1e-5 by default. */
  tolerance?: number;
  ours: (inputs: Tensors) => tf.Tensor;
  plain: (inputs: Tensors) => tf.Tensor;
}> = {
  "activation()": {
    inputs: [[256, 160], [160]],
    ours: ([x, bias]) => activation(x as tf.Tensor2D, bias as tf.Tensor1D),
    plain: ([x, bias]) => {
      const z = tf.add(x!, bias!);
      return tf.mul(z, tf.mul(tf.add(tf.erf(tf.div(z, Math.SQRT2)), 1), 0.5));
    },
  },
  "activation() gated, with GELU": {
    inputs: [[512, 160], [160]],
    ours: ([x, bias]) =>
      activation(x as tf.Tensor2D, bias as tf.Tensor1D, "gelu", "gated"),
    plain: ([x, bias]) => {
      const [z, gate] = tf.split(tf.add(x!, bias!), 2, 1) as [
        tf.Tensor,
        tf.Tensor,
      ];
      const phi = tf.mul(tf.add(tf.erf(tf.div(z, Math.SQRT2)), 1), 0.5);
      return tf.mul(tf.mul(z, phi), gate);
    },
  },
  "activation() gated, with SiLU": {
    inputs: [[256, 160], [160]],
    ours: ([x, bias]) =>
      activation(x as tf.Tensor2D, bias as tf.Tensor1D, "silu", "gated"),
    plain: ([x, bias]) => {
      const [z, gate] = tf.split(tf.add(x!, bias!), 2, 1) as [
        tf.Tensor,
        tf.Tensor,
      ];
      return tf.mul(tf.mul(z, tf.sigmoid(z)), gate);
    },
  },
  "layerNorm() by the root mean square": {
    inputs: [[256, 160], [160]],
    ours: ([x, gamma]) =>
      layerNorm({
        x: x as tf.Tensor2D,
        gamma: gamma as tf.Tensor1D,
        beta: undefined,
        epsilon: 1e-5,
      }),
    plain: ([x, gamma]) => {
      const square = tf.mean(tf.square(x!), -1, true);
      return tf.mul(tf.mul(x!, tf.rsqrt(tf.add(square, 1e-5))), gamma!);
    },
  },
  "layerNorm()": {
    inputs: [[256, 160], [160], [160]],
    ours: ([x, ...weights]) =>
      layerNorm({ x: x as tf.Tensor2D, ...norm(weights) }),
    plain: ([x, gamma, beta]) => {
      const { mean, variance } = tf.moments(x!, -1, true);
      const normed = tf.div(
        tf.sub(x!, mean),
        tf.sqrt(tf.add(variance, 1e-5)),
      );
      return tf.add(tf.mul(normed, gamma!), beta!);
    },
  },
  "rotary()": {
    inputs: [[2, 4, 96, 64]],
    // Angles are rounded to float32.
    tolerance: 1e-4,
    ours: ([x]) =>
      rotary(x as tf.Tensor4D, rotaryAngles(96, rotaryFrequencies(100, 64))),
    plain: ([x]) => {
      // (left + i right) e^(i angle)
      const [left, right] = tf.split(x!, 2, 3) as [tf.Tensor, tf.Tensor];
      const frequencies = tf.pow(100, tf.div(tf.range(0, 32), -32));
      const angle = tf.outerProduct(
        tf.range(0, 96),
        frequencies as tf.Tensor1D,
      );
      const turned = tf.concat([tf.neg(right), left], 3);
      const twice = (values: tf.Tensor) => tf.tile(values, [1, 2]);
      return tf.add(
        tf.mul(x!, twice(tf.cos(angle))),
        tf.mul(turned, twice(tf.sin(angle))),
      );
    },
  },
  "disentangle()": {
    inputs: [[4, 2, 64, 8], [4, 2, 64, 8], [2, 2, 127, 8], [2, 2, 127, 8]],
    trained: 4,
    // A position's gradient sums the products of 128 pairs.
    tolerance: 1e-4,
    ours: ([query, key, positionQuery, positionKey]) =>
      disentangle(
        { query, key, positionQuery, positionKey } as Parameters<
          typeof disentangle
        >[0],
      ),
    plain: ([query, key, positionQuery, positionKey]) => {
      const distances = Int32Array.from(
        { length: 64 * 64 },
        (_, i) => Math.floor(i / 64) - i % 64 + 63,
      );
      const places = tf.oneHot(tf.tensor1d(distances, "int32"), 127);
      // Two sequences at each of two ranks.
      const ofPairs = (positions: tf.Tensor) => {
        const byDistance = tf.reshape(
          tf.transpose(positions, [2, 0, 1, 3]),
          [127, 32],
        );
        const pairs = tf.matMul(tf.cast(places, "float32"), byDistance);
        return tf.transpose(
          tf.reshape(pairs, [64, 64, 2, 1, 2, 8]),
          [2, 3, 4, 0, 1, 5],
        );
      };
      const byQuery = tf.reshape(query!, [2, 2, 2, 64, 1, 8]);
      const byKey = tf.reshape(key!, [2, 2, 2, 1, 64, 8]);
      const sum = tf.add(
        tf.sum(tf.mul(byQuery, ofPairs(positionKey!)), -1),
        tf.sum(tf.mul(byKey, ofPairs(positionQuery!)), -1),
      );
      return tf.reshape(sum, [4, 2, 64, 64]);
    },
  },
  "layerNorm() of a sum": {
    inputs: [[256, 160], [160], [256, 160], [160], [160]],
    ours: ([x, bias, residual, ...weights]) =>
      layerNorm(
        { ...{ x, bias, residual }, ...norm(weights) } as Parameters<
          typeof layerNorm
        >[0],
      ),
    plain: ([x, bias, residual, gamma, beta]) => {
      const sum = tf.add(tf.add(x!, bias!), residual!);
      const { mean, variance } = tf.moments(sum, -1, true);
      return tf.add(
        tf.mul(
          tf.div(tf.sub(sum, mean), tf.sqrt(tf.add(variance, 1e-5))),
          gamma!,
        ),
        beta!,
      );
    },
  },
};

/** Attention in variants, with padding: in blocks, each of which has all keys that its queries attend to. */
for (
  const [name, { before, after, queries = 100, shared = 4, ...options }]
    of Object
      .entries<{
        readonly before?: number;
        readonly after?: number;
        readonly queries?: number;
        readonly shared?: number;
        readonly minBlocks?: number;
        /** Sequences of a bias. */
        readonly biases?: number;
      }>({
        "as a whole": {},
        "in blocks": { minBlocks: 50 },
        "of shared heads, in blocks": { shared: 2, minBlocks: 50 },
        "with a bias, in blocks": { biases: 1, minBlocks: 50 },
        "with a bias of each sequence, in blocks": { biases: 2, minBlocks: 50 },
        "causal": { after: 0 },
        "causal, of shared heads, in blocks": {
          after: 0,
          shared: 2,
          minBlocks: 50,
        },
        "causal, within a window, in blocks": {
          after: 0,
          before: 30,
          minBlocks: 50,
        },
        "within a window": { before: 40, after: 40 },
        "within a window, in blocks along it": { before: 16, after: 16 },
        "within a window, in blocks of many blocks": {
          ...{ before: 16, after: 16, minBlocks: 100 },
        },
        "of one query within a window": { before: 16, after: 16, queries: 1 },
      })
) {
  const { biases, minBlocks } = options;
  operations[`attention() ${name}`] = {
    inputs: [
      [2, 4, queries, 8],
      [2, shared, 100, 8],
      [2, shared, 100, 8],
      ...biases === undefined ? [] : [[biases, 4, 100, 100]],
    ],
    trained: biases === undefined ? 3 : 4,
    ours: ([q, k, v, bias]) =>
      attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, {
        scale: 0.25,
        mask: paddingOf([100, 90]),
        ...{ before: before ?? Infinity, after: after ?? Infinity },
        ...{
          minBlocks,
          bias: bias as tf.Tensor4D,
        },
      }),
    plain: ([q, k, v, bias = tf.scalar(0)]) => {
      const ofAll = (x: tf.Tensor) =>
        tf.reshape(tf.stack(Array(4 / shared).fill(x), 2), [2, 4, 100, 8]);
      const distance = tf.sub(
        tf.reshape(tf.range(0, queries), [queries, 1]),
        tf.range(0, 100),
      );
      const outside = tf.logicalOr(
        tf.greater(distance, before ?? 100),
        tf.less(distance, -(after ?? 100)),
      );
      const products = tf.matMul(q!, ofAll(k!), false, true);
      const scores = tf.mul(tf.add(products, bias), 0.25);
      const masked = tf.addN([
        scores,
        tf.mul(tf.onesLike(scores), paddingOf([100, 90])),
        tf.mul(tf.onesLike(scores), tf.mul(tf.cast(outside, "float32"), -1e9)),
      ]);
      return tf.matMul(tf.softmax(masked), ofAll(v!));
    },
  };
}

for (
  const [name, { inputs, trained = 1, tolerance = 1e-5, ours, plain }] of Object
    .entries(
      operations,
    )
) {
  Deno.test(`${name} and its gradient are those of tfjs's own operations`, async () => {
    const tensors = random(...inputs);
    const values = (f: (inputs: Tensors) => tf.Tensor) => [
      f(tensors),
      ...tf.grads((...of) => f([...of, ...tensors.slice(trained)]))(
        tensors.slice(0, trained),
      ),
    ];
    const [actual, expected] = [values(ours), values(plain)];
    for (const [i, value] of actual.entries()) {
      assertClose(
        await read(value),
        await read(expected[i]!),
        tolerance,
        i === 0 ? "value" : `gradient of input ${i - 1}`,
      );
    }
  });
}

Deno.test("attention() drops other probabilities in each block", async () => {
  const [blocks, tokens] = [16, 64];
  const equal = tf.zeros([blocks, 1, tokens, tokens]) as tf.Tensor4D;
  const identity = tf.tile(
    tf.reshape(tf.eye(tokens), [1, 1, tokens, tokens]),
    [blocks, 1, 1, 1],
  ) as tf.Tensor4D;
  const value = attention(equal, equal, identity, {
    scale: 1,
    mask: undefined,
    minBlocks: blocks,
    dropout: dropsHalf(),
  });
  const probabilities = await read(value);
  const size = tokens * tokens;
  const masks = Array.from(
    { length: blocks },
    (_, block) =>
      probabilities.subarray(block * size, (block + 1) * size).join(),
  );
  assertEquals(new Set(masks).size, blocks);
});

Deno.test({
  name: "fused functions give the same bits inside a trace as outside",
  ignore: tensorflow === undefined,
  fn: async () => {
    const shapes = [[256, 160], [160], [256, 160], [160], [160]];
    const [x, bias, residual, gamma, beta] = random(...shapes);
    const inputs = { x, bias, residual, gamma, beta };
    const gradients = (
      { x, bias, residual, gamma, beta }: Named,
    ): Record<"x" | "residual", tf.Tensor> => {
      const [dx, dResidual] = tf.grads((x, residual) =>
        activation(
          layerNorm(
            {
              ...{ x, bias, residual, source: dropsHalf() },
              ...norm([gamma!, beta!]),
            } as Parameters<typeof layerNorm>[0],
          ),
          bias as tf.Tensor1D,
        )
      )([x!, residual!]);
      return { x: dx!, residual: dResidual! };
    };
    const traced = trace(gradients);
    const [inTrace, alone] = [traced(inputs), tf.tidy(() => gradients(inputs))];
    for (const name of ["x", "residual"] as const) {
      assertSameBits(await read(inTrace[name]), await read(alone[name]));
    }
    traced.dispose();
  },
});

Deno.test("dropout() keeps the expected share, independently for each site, key and place", async () => {
  const ones = tf.ones([512, 512]);
  const masks: boolean[][] = [];
  for (const [i, rate] of [0.1, 0.1, 0.5].entries()) {
    const source = { rate, keys: keys() };
    if (i === 1) source.keys.next();
    const kept = [...await read(dropout(ones, source))];
    const values = new Set(kept);
    assertEquals(values.size, 2);
    assertClose(
      [Math.max(...values), Math.min(...values)],
      [1 / (1 - rate), 0],
      1e-6,
      "values",
    );
    // Five standard deviations of a binomial of 2^18 draws.
    const share = kept.filter((value) => value > 0).length / kept.length;
    const bound = 5 * Math.sqrt(rate * (1 - rate) / kept.length);
    assertAlmostEquals(share, 1 - rate, bound, `${share} are kept`);
    masks.push(kept.map((value) => value > 0));
  }
  const [first, second] = masks as [boolean[], boolean[]];
  const n = first.length;
  const bothDropped = (other: (i: number) => boolean) =>
    first.filter((kept, i) => !kept && !other(i)).length / n;
  const bound = 5 * Math.sqrt(0.01 * 0.99 / n);
  for (const shift of [1, 2, 16, 512]) {
    const share = bothDropped((i) => first[(i + shift) % n]!);
    assertAlmostEquals(share, 0.01, bound, `${share} at distance ${shift}`);
  }
  const share = bothDropped((i) => second[i]!);
  assertAlmostEquals(share, 0.01, bound, `${share} at two sites`);
});

Deno.test("dropout() drops the gradient where it dropped the value", async () => {
  const ones = tf.ones([64, 1024]);
  const value = await read(dropout(ones, dropsHalf()));
  const gradient = await read(tf.grad((x) => dropout(x, dropsHalf()))(ones));
  assertSameBits(gradient, value);
});
