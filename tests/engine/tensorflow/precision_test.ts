/** Mixed precision at the binding: products in bfloat16, all else in float32. */
import { assertEquals, assertNotEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { tensorIds } from "../../../lib/engine/tensorflow/tfjs_node_gpu.ts";
import { selectEngine } from "../../../lib/engine/install/choose.ts";
import type { Classifier } from "../../../lib/engine/models/classifier.ts";
import { loadFrozen } from "../../../lib/engine/models/pass_weights.ts";
import { lookUp } from "../../../lib/engine/ops/embedding.ts";
import { SafetensorsFile } from "../../../lib/engine/safetensors/reader.ts";
import { writeSafetensors } from "../../../lib/engine/safetensors/writer.ts";
import { startEngine } from "../../../lib/engine/start.ts";
import { DataType } from "../../../lib/engine/tensorflow/tensors.ts";
import type { Precision } from "../../../lib/engine/tensorflow/precision.ts";
import { batchTensors, padBatch } from "../../../lib/engine/training/batch.ts";
import { trainingStep } from "../../../lib/engine/training/step.ts";
import { tensorflow } from "../engine.ts";
import { logitsAt, ranksAt } from "../logits.ts";
import {
  assertClose,
  assertSameBits,
  openReference,
  read,
} from "../reference.ts";
import { draw, optimizer, startState } from "../reference_step.ts";
import {
  dyloraObjective,
  tinyClassifier,
  tinyExamples,
  withAdapters,
} from "../tiny_task.ts";

const ignore = tensorflow === undefined;
const examples = tinyExamples(32);

/** Runs with this precision, and with float32 again after it. */
async function at<Result>(
  precision: Precision,
  run: (classifier: Classifier, values: Float32Array) => Promise<Result>,
): Promise<Result> {
  tensorflow!.precision = precision;
  try {
    const { classifier, initial } = tinyClassifier();
    return await run(classifier, withAdapters(initial));
  } finally {
    tensorflow!.precision = "f32";
  }
}

/** The type in which the library has a tensor. */
function typeOf(tensor: tf.Tensor): number {
  const signature = tensorflow!.signature(tensorIds([tensor]));
  return Number(signature.split("[")[0]);
}

/** Some steps of training: the values at the end, after the loss of each step. */
async function train(
  classifier: Classifier,
  start: Float32Array,
  eager: boolean,
): Promise<Float32Array> {
  const step = trainingStep(classifier, {
    objective: dyloraObjective(),
    optimizer,
    loss: "cross-entropy",
    dropout: true,
    eager,
  });
  const rows = Array.from({ length: 32 }, (_, i) => i);
  const batch = padBatch(examples, rows, classifier.model, 64);
  const losses: number[] = [];
  let state = startState(start);
  for (const [i, rank] of [3, 8, 1].entries()) {
    const result = step(state, [batch], draw(i, rank, 1e-3));
    losses.push((await read(result.loss))[0]!);
    tf.dispose([...Object.values(state), result.loss]);
    state = result.state;
  }
  const values = await read(state.values);
  tf.dispose(Object.values(state));
  step.dispose();
  return Float32Array.of(...losses, ...values);
}

Deno.test({
  name:
    "bf16 keeps frozen matrices only in bfloat16, and tables, biases and normalizations in float32",
  ignore,
  fn: () =>
    at("bf16", ({ weights }) => {
      const { products, tensors } = weights!;
      // Of the last layer the query is a product of its own, of the first token.
      assertEquals(products.length, 4 + 1);
      for (const { weight, bias } of products.values()) {
        assertEquals(typeOf(weight), DataType.bfloat16);
        assertEquals(typeOf(bias!), DataType.float32);
      }
      // Three tables, and the normalizations of the embeddings and of the layers.
      assertEquals(tensors.size, 3 + 2 * (1 + 2));
      for (const tensor of tensors.values()) {
        assertEquals(typeOf(tensor), DataType.float32);
      }
      return Promise.resolve();
    }),
});

Deno.test({
  name:
    "bf16 keeps a table in bfloat16 if that loses nothing, and looks up its values",
  ignore,
  fn: () =>
    at("bf16", async () => {
      const { model, file } = openReference("roberta");
      const path = Deno.makeTempFileSync({ suffix: ".safetensors" });
      try {
        const rounded = [...file.tensors].map(([name, { shape }]) => {
          const values = file.floats(name);
          const bits = new Uint32Array(values.buffer);
          bits.forEach((it, i) => bits[i] = it & 0xffff0000);
          return [name, { shape, values }] as const;
        });
        writeSafetensors(path, Object.fromEntries(rounded));
        const name = "roberta.embeddings.word_embeddings.weight";
        using own = SafetensorsFile.open(path);
        const table = loadFrozen(own, model).tensors.get(name)!;
        assertEquals(typeOf(table), DataType.bfloat16);
        const ids = [7, 0, 140, 7];
        const found = lookUp(
          table as tf.Tensor2D,
          tf.tensor2d(ids, [1, 4], "int32"),
        );
        assertEquals(typeOf(found), DataType.bfloat16);
        const [, width] = table.shape as [number, number];
        const values = own.floats(name);
        assertSameBits(
          await read(found),
          Float32Array.from(
            { length: 4 * width },
            (_, i) => values[ids[Math.floor(i / width)]! * width + i % width]!,
          ),
        );
      } finally {
        Deno.removeSync(path);
      }
    }),
});

Deno.test({
  name:
    "bf16 gives logits within a hundredth of float32's, and not equal to them",
  ignore,
  fn: async () => {
    const logits = (precision: Precision) =>
      at(precision, (classifier, values) => {
        const batch = padBatch(examples, [0, 1, 2, 3, 4, 5], classifier.model);
        const ranks = ranksAt([8], 16, 8);
        return logitsAt(classifier, values, batchTensors(batch), ranks);
      });
    const [exact, mixed] = [await logits("f32"), await logits("bf16")];
    // bfloat16 rounds to 8 bits, so a value to 1 part in 512; rounding accumulates over two layers.
    assertClose(mixed, exact, 2e-2, "logits");
    assertNotEquals(mixed, exact);
  },
});

Deno.test({
  name: "bf16 training has losses within a hundredth of float32's",
  ignore,
  fn: async () => {
    const ends = (precision: Precision) =>
      at(precision, (classifier, values) => train(classifier, values, false));
    const [exact, mixed] = [await ends("f32"), await ends("bf16")];
    assertClose(mixed.subarray(0, 3), exact.subarray(0, 3), 2e-2, "losses");
    // AdamW moves a value by at most about the learning rate in each of three steps, whatever its gradient's size.
    assertClose(mixed.subarray(3), exact.subarray(3), 6.5e-3, "values");
  },
});

Deno.test({
  name: "bf16 traced equals bf16 eager bit for bit",
  ignore,
  fn: async () => {
    const ends = (eager: boolean) =>
      at("bf16", (classifier, values) => train(classifier, values, eager));
    assertSameBits(await ends(false), await ends(true));
  },
});

Deno.test({
  name: "tf.cast() of a tensor held in bfloat16 gives its values",
  ignore,
  fn: () =>
    at("bf16", async () => {
      const product = tf.matMul(tf.fill([2, 3], 1.5), tf.ones([3, 2]));
      assertEquals([...await read(tf.cast(product, "int32"))], [4, 4, 4, 4]);
    }),
});

Deno.test({
  name:
    "startEngine() takes bfloat16 if the machine multiplies it, unless a precision is requested",
  ignore,
  fn: async () => {
    const library = (await selectEngine("tensorflow")).library!;
    const start = (bfloat16: boolean, precision: Precision | "auto") =>
      startEngine(
        { engine: "tensorflow", device: "cpu", library, bfloat16 },
        { cpus: 2, precision },
      );
    assertEquals(await start(true, "auto"), "bf16");
    assertEquals(await start(false, "auto"), "f32");
    assertEquals(await start(true, "f32"), "f32");
    assertEquals(await start(false, "bf16"), "bf16");
    await start(false, "f32");
  },
});
