import * as tf from "@tensorflow/tfjs-core";
import "../engine.ts";
import { adamW } from "../../../lib/engine/training/adamw.ts";
import { adaptedLinear } from "../../../lib/engine/ops/adapted_linear.ts";
import { assertClose, fixture, read } from "../reference.ts";
import { dyloraObjective } from "../tiny_task.ts";

/** What the official layer computed in float64; see the file's "origin". */
const official = JSON.parse(
  Deno.readTextFileSync(fixture("references/official-dylora-layer.json")),
);
const tolerance = 1e-5;
const {
  r: maxRank,
  lora_alpha: alpha,
  in_features: inputs,
  out_features: outputs,
} = official;

for (
  const { b, frozen, input, y, grad_lora_A, grad_lora_B, grad_x } of official
    .cases
) {
  Deno.test(`adaptedLinear() is the official layer at rank ${b}, ${frozen ? "frozen" : "all"}, on ${input}`, async () => {
    const result = await computeLayer(
      official[input],
      official[`G${input.slice(1)}`],
      b,
      frozen,
    );
    assertClose(result.y, flat(y), tolerance, "y");
    assertClose(
      result.gradients.a,
      flat(grad_lora_A),
      tolerance,
      "gradient of lora_A",
    );
    assertClose(
      result.gradients.b,
      flat(grad_lora_B),
      tolerance,
      "gradient of lora_B",
    );
    assertClose(result.gradients.x, flat(grad_x), tolerance, "gradient of x");
  });
}

for (const { frozen, lr, betas, eps, weight_decay, steps } of official.adamw) {
  Deno.test(`adamW() takes the official layer's steps, ${frozen ? "frozen" : "all"}`, async () => {
    const size = maxRank * (inputs + outputs);
    let values = Float32Array.of(
      ...flat(official.lora_A),
      ...flat(transposed(official.lora_B)),
    );
    let moment1 = new Float32Array(size);
    let moment2 = new Float32Array(size);
    for (const [i, expected] of steps.entries()) {
      const a = values.slice(0, maxRank * inputs);
      const b = values.slice(maxRank * inputs);
      const { gradients, loss } = await computeLayer(
        official.x2,
        official.G2,
        expected.b,
        frozen,
        a,
        b,
      );
      assertClose([loss], [expected.loss], 1e-4, `loss of step ${i}`);
      const gradient = tf.tensor1d(
        Float32Array.of(
          ...gradients.a,
          ...transposeFlat(gradients.b, outputs, maxRank),
        ),
      );
      const next = adamW(
        {
          values: tf.tensor1d(values),
          moment1: tf.tensor1d(moment1),
          moment2: tf.tensor1d(moment2),
        },
        gradient,
        tf.ones([size]) as tf.Tensor1D,
        tf.tensor1d([
          lr,
          1 - betas[0] ** (i + 1),
          1 - betas[1] ** (i + 1),
        ]),
        {
          beta1: betas[0],
          beta2: betas[1],
          epsilon: eps,
          weightDecay: weight_decay,
          clipNorm: Infinity,
        },
      );
      values = await read(next.values);
      moment1 = await read(next.moment1);
      moment2 = await read(next.moment2);
      assertClose(
        values.slice(0, maxRank * inputs),
        flat(expected.lora_A),
        tolerance,
        `lora_A after step ${i}`,
      );
      assertClose(
        values.slice(maxRank * inputs),
        flat(transposed(expected.lora_B)),
        tolerance,
        `lora_B after step ${i}`,
      );
    }
  });
}

/** The layer's output and the gradients of `sum(G * y)`; the gradient of B as the official code lays it out. */
async function computeLayer(
  x: unknown[],
  g: unknown[],
  rank: number,
  frozen: boolean,
  a: Float32Array | number[] = flat(official.lora_A),
  b: Float32Array | number[] = flat(transposed(official.lora_B)),
) {
  const rows = flat(x).length / inputs;
  const weight = tf.tensor2d(flat(official.weight), [outputs, inputs]);
  const bias = tf.tensor1d(official.bias);
  const objective = dyloraObjective({
    mode: frozen ? "frozen" : "all",
    rank: maxRank,
    alpha,
  });
  const ranks = {
    scale: tf.tensor2d(objective.scale(rank), [1, maxRank]),
    gradientMask: tf.tensor1d(objective.gradientMask(rank)),
  };
  const weights = tf.tensor2d(flat(g), [rows, outputs]);
  let y: tf.Tensor | undefined;
  const { value, grads } = tf.valueAndGrads((x, a, b) => {
    const output = adaptedLinear(
      x as tf.Tensor2D,
      weight,
      [{ a: a!, b: b!, width: b!.shape[1]!, offset: 0 }],
      { ranks, bias, rows },
    );
    y = tf.keep(output);
    return tf.sum(tf.mul(output, weights));
  })([
    tf.tensor2d(flat(x), [rows, inputs]),
    tf.tensor2d(a, [maxRank, inputs]),
    tf.tensor2d(b, [maxRank, outputs]),
  ]);
  const [dx, da, db] = grads as [tf.Tensor, tf.Tensor, tf.Tensor];
  return {
    y: await read(y!),
    loss: (await read(value))[0]!,
    gradients: {
      x: await read(dx),
      a: await read(da),
      b: await read(tf.transpose(db)),
    },
  };
}

function flat(values: unknown[]): number[] {
  return values.flat(Infinity) as number[];
}

function transposed(matrix: number[][]): number[][] {
  return matrix[0]!.map((_, column) => matrix.map((row) => row[column]!));
}

function transposeFlat(
  values: ArrayLike<number>,
  rows: number,
  columns: number,
): number[] {
  const result: number[] = [];
  for (let column = 0; column < columns; column++) {
    for (let row = 0; row < rows; row++) {
      result.push(values[row * columns + column]!);
    }
  }
  return result;
}
