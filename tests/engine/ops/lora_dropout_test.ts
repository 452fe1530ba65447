/** The dropout of a LoRA's input, beside the formula as it is written, and beside PEFT. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import "../engine.ts";
import { adaptedLinear } from "../../../lib/engine/ops/adapted_linear.ts";
import { dropout } from "../../../lib/engine/ops/dropout.ts";
import { seededRandom } from "../../../lib/engine/random.ts";
import { SafetensorsFile } from "../../../lib/engine/safetensors/reader.ts";
import {
  type TensorValues,
  writeSafetensors,
} from "../../../lib/engine/safetensors/writer.ts";
import { withFolder } from "../../tasks/run_task.ts";
import { assertClose, read } from "../reference.ts";

const PYTHON = Deno.env.get("PEFT_PYTHON");
const [ROWS, INPUTS, WIDTH, RANK, RATE] = [7, 6, 5, 3, 0.4];
const KEYS = [[1, 2], [3, 4]];

const random = seededRandom(0, "lora dropout");
function drawn(rows: number, columns: number): tf.Tensor2D {
  const values = Array.from({ length: rows * columns }, random.next);
  return tf.tensor2d(values.map((it) => it - 0.5), [rows, columns]);
}

/** An input, a joined weight of two modules, their factors, and a gradient of the outputs. */
const given = {
  x: drawn(ROWS, INPUTS),
  w: drawn(2 * WIDTH, INPUTS),
  dy: drawn(ROWS, 2 * WIDTH),
  a: [drawn(RANK, INPUTS), drawn(RANK, INPUTS)] as const,
  b: [drawn(RANK, WIDTH), drawn(RANK, WIDTH)] as const,
};

function source() {
  return {
    rate: RATE,
    keys: KEYS.map((it) => tf.tensor1d(it, "int32")).values(),
  };
}

/** Outputs, and the gradients of the input and of each A and B. */
async function computed(
  formula: (...inputs: tf.Tensor2D[]) => tf.Tensor2D,
): Promise<Float32Array[]> {
  const { x, a, b, dy } = given;
  const { value, grads } = tf.valueAndGrads((...inputs) =>
    tf.sum(tf.mul(formula(...inputs as tf.Tensor2D[]), dy))
  )([x, ...a, ...b]);
  value.dispose();
  const y = formula(x, ...a, ...b);
  return await Promise.all([y, ...grads].map((it) => read(it)));
}

function ours(): Promise<Float32Array[]> {
  return computed((x, a0, a1, b0, b1) =>
    adaptedLinear(
      x!,
      given.w,
      [[a0!, b0!], [a1!, b1!]].map(([a, b], i) => ({
        a: a!,
        b: b!,
        width: WIDTH,
        offset: i * WIDTH,
      })),
      {
        ranks: {
          scale: tf.fill([1, RANK], 2),
          gradientMask: tf.ones([RANK]) as tf.Tensor1D,
        },
        rows: ROWS,
        dropout: source(),
      },
    )
  );
}

Deno.test("adaptedLinear() drops the input of each LoRA, not that of the frozen weight: x W^T + s (drop(x) A^T) B^T", async () => {
  const expected = await computed((x, a0, a1, b0, b1) => {
    const draws = source();
    const updates = [[a0!, b0!], [a1!, b1!]].map(([a, b]) =>
      tf.mul(
        tf.matMul(tf.matMul(dropout(x!, draws), a!, false, true), b!),
        2,
      )
    );
    return tf.add(
      tf.matMul(x!, given.w, false, true),
      tf.concat(updates, 1),
    );
  });
  const found = await ours();
  found.forEach((it, i) => assertClose(it, expected[i]!, 1e-5, `result ${i}`));
});

Deno.test({
  name:
    "adaptedLinear() computes what PEFT computes with the same masks of lora_dropout",
  ignore: PYTHON === undefined,
  fn: () =>
    withFolder(async (folder) => {
      const path = join(folder, "given.safetensors");
      const { x, w, dy, a, b } = given;
      const draws = source();
      const masks = KEYS.map(() => dropout(tf.ones([ROWS, INPUTS]), draws));
      const tensors: Record<string, tf.Tensor> = { x, w, dy };
      for (const i of [0, 1] as const) {
        tensors[`mask${i}`] = masks[i]!;
        tensors[`a${i}`] = a[i];
        tensors[`b${i}`] = tf.transpose(b[i]);
      }
      const values: Record<string, TensorValues> = {};
      for (const [name, tensor] of Object.entries(tensors)) {
        values[name] = { shape: tensor.shape, values: await read(tensor) };
      }
      const kept = values.mask0!.values.filter((it) => it > 0).length;
      assert(kept > 0 && kept < ROWS * INPUTS);
      writeSafetensors(path, values);
      const { code, stderr } = await new Deno.Command(PYTHON!, {
        args: [join(import.meta.dirname!, "lora_dropout.py"), path],
      }).output();
      assertEquals(code, 0, new TextDecoder().decode(stderr));
      using theirs = SafetensorsFile.open(path);
      const [y, dx, da0, da1, db0, db1] = await ours();
      const found = { y, dx, da0, da1 };
      for (const [name, values] of Object.entries(found)) {
        assertClose(values!, theirs.floats(name), 1e-5, name);
      }
      for (const [i, transposed] of [db0, db1].entries()) {
        const own = tf.transpose(tf.tensor2d(transposed!, [RANK, WIDTH]));
        assertClose(await read(own), theirs.floats(`db${i}`), 1e-5, `db${i}`);
      }
    }),
});
