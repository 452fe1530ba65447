import { assertAlmostEquals, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { tensorflow } from "../engine.ts";
import { attention } from "../../../lib/engine/ops/attention.ts";
import { dropout, DropoutKeys } from "../../../lib/engine/ops/dropout.ts";
import { biasGelu } from "../../../lib/engine/ops/gelu.ts";
import { addAndNorm } from "../../../lib/engine/ops/layer_norm.ts";
import { eager, type Named, trace } from "../../../lib/engine/trace.ts";
import { assertClose, assertSameBits, read } from "../reference.ts";

type Tensors = readonly tf.Tensor[];

/** Random tensors, the same at every call. */
function random(...shapes: number[][]): tf.Tensor[] {
  return shapes.map((shape, i) => tf.randomNormal(shape, 0, 1, "float32", i));
}

const keys = () =>
  new DropoutKeys(tf.tensor2d([[1, 2], [3, 4]], [2, 2], "int32"));
const dropsHalf = () => ({ rate: 0.5, keys: keys() });
const norm = ([gamma, beta]: Tensors) => ({
  gamma: gamma as tf.Tensor1D,
  beta: beta as tf.Tensor1D,
  epsilon: 1e-5,
});

/** Operations large enough to be compiled, and the same from tfjs's own operations, with its own gradients. */
const operations: Record<string, {
  inputs: number[][];
  ours: (inputs: Tensors) => tf.Tensor;
  plain: (inputs: Tensors) => tf.Tensor;
}> = {
  "biasGelu()": {
    inputs: [[256, 160], [160]],
    ours: ([x, bias]) => biasGelu(x as tf.Tensor2D, bias as tf.Tensor1D),
    plain: ([x, bias]) => {
      const z = tf.add(x!, bias!);
      return tf.mul(z, tf.mul(tf.add(tf.erf(tf.div(z, Math.SQRT2)), 1), 0.5));
    },
  },
  "addAndNorm()": {
    inputs: [[256, 160], [160], [256, 160], [160], [160]],
    ours: ([x, bias, residual, ...weights]) =>
      addAndNorm(
        x as tf.Tensor2D,
        bias as tf.Tensor1D,
        residual as tf.Tensor2D,
        norm(weights),
        undefined,
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
  "attention()": {
    inputs: [[4, 8, 48, 16], [4, 8, 48, 16], [4, 8, 48, 16]],
    ours: ([q, k, v]) =>
      attention(
        q as tf.Tensor4D,
        k as tf.Tensor4D,
        v as tf.Tensor4D,
        { scale: 0.25 },
      ),
    plain: ([q, k, v]) =>
      tf.matMul(
        tf.softmax(tf.mul(tf.matMul(q!, k!, false, true), 0.25)),
        v!,
      ),
  },
};

for (const [name, { inputs, ours, plain }] of Object.entries(operations)) {
  Deno.test(`${name} and its gradient are those of tfjs's own operations`, async () => {
    const tensors = random(...inputs);
    const values = (f: (inputs: Tensors) => tf.Tensor) => [
      f(tensors),
      tf.grad((x) => f([x, ...tensors.slice(1)]))(tensors[0]!),
    ];
    for (const [i, part] of ["value", "gradient"].entries()) {
      assertClose(
        await read(values(ours)[i]!),
        await read(values(plain)[i]!),
        1e-5,
        part,
      );
    }
  });
}

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
        biasGelu(
          addAndNorm(
            x as tf.Tensor2D,
            bias as tf.Tensor1D,
            residual as tf.Tensor2D,
            norm([gamma!, beta!]),
            dropsHalf(),
          ),
          bias as tf.Tensor1D,
        )
      )([x!, residual!]);
      return { x: dx!, residual: dResidual! };
    };
    const traced = trace(gradients);
    const [inTrace, alone] = [traced(inputs), eager(gradients, inputs)];
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
    if (i === 1) source.keys.take();
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
