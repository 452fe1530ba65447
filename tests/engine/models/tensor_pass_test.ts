/** What is left out because nothing depends on it changes no result: each is compared with the plain computation. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import "../engine.ts";
import { splitParameters } from "../../../lib/engine/models/classifier.ts";
import { forward } from "../../../lib/engine/models/model.ts";
import {
  type BatchTensors,
  TensorPass,
} from "../../../lib/engine/models/tensor_pass.ts";
import { ObservedPass } from "./observed_pass.ts";
import { batchLoss } from "../../../lib/engine/ops/loss.ts";
import { batchTensors, padBatch } from "../../../lib/engine/training/batch.ts";
import { logitsAt, lossAndGradient, ranksAt } from "../logits.ts";
import { assertClose, assertSameBits } from "../reference.ts";
import { tinyClassifier, tinyExamples, withAdapters } from "../tiny_task.ts";

const rank = 8;
const { classifier, initial } = tinyClassifier(rank);
const { model } = classifier;
const values = withAdapters(initial);
const examples = tinyExamples(6);

Deno.test("computing the last layer only at the classifier's position gives the loss and gradient of all positions", async () => {
  const batch = padBatch(examples, [0, 1, 2, 3], model);
  const input = batchTensors(batch);
  const lastRows: number[] = [];
  const ranks = ranksAt([3], 16, rank);
  const gradientOf = async (
    logits?: (parameters: Record<string, tf.Tensor>) => tf.Tensor2D,
  ) => {
    const { loss, gradient } = await lossAndGradient(
      classifier,
      values,
      input,
      ranks,
      (logits) => batchLoss("cross-entropy", logits, tf.tensor1d(batch.labels)),
      logits,
    );
    return Float32Array.of(loss, ...gradient);
  };
  const plain = await gradientOf((parameters) =>
    forward(
      model,
      new ObservedPass(
        { ...classifier, parameters, input, ranks },
        ({ shape: [rows] }) => lastRows.push(rows!),
      ),
      classifier.layout.outputs,
    ).value as tf.Tensor2D
  );
  assertEquals(lastRows.at(-1), batch.shape[0] * batch.shape[1]);
  const saved = await gradientOf();
  assert(Math.max(...saved.map(Math.abs)) > 1e-2);
  assertClose(saved, plain, 1e-6, "loss and gradient");
});

Deno.test("a batch without padding gives the same logits with and without a mask of ones", async () => {
  const same = [0, 0, 0];
  const batch = padBatch(
    { ...examples, offsets: Int32Array.of(0, 8), labels: Float32Array.of(1) },
    same,
    model,
  );
  assertEquals(batch.mask, undefined);
  const input = batchTensors(batch);
  const ones = { ...input, mask: tf.ones(batch.shape) as tf.Tensor2D };
  assertSameBits(
    await logits(input, [4]),
    await logits(ones, [4]),
  );
});

Deno.test("examples have the same logits for any padded length of their batch", async () => {
  const all = [0, 1, 2, 3, 4, 5];
  const outputs = classifier.layout.outputs;
  const together = await logits(
    batchTensors(padBatch(examples, all, model, 64)),
    [5],
  );
  for (const i of all) {
    const alone = await logits(
      batchTensors(padBatch(examples, [i], model)),
      [5],
    );
    const row = together.subarray(i * outputs, (i + 1) * outputs);
    assertClose(row, alone, 1e-5, `example ${i}`);
  }
});

Deno.test("computing all ranks in one pass, with shared parts computed once, gives the logits of one pass per rank", async () => {
  const input = batchTensors(
    padBatch(examples, [0, 1, 2, 3], model),
  );
  const ranks = [1, 2, 5, 8];
  const together = await logits(input, ranks);
  for (const [i, b] of ranks.entries()) {
    const alone = await logits(input, [b]);
    const size = alone.length;
    assertClose(
      together.subarray(i * size, (i + 1) * size),
      alone,
      1e-5,
      `rank ${b}`,
    );
  }
});

Deno.test("TensorPass refuses what it would drop: a bias of causal or windowed attention, a dropout before GELU", () => {
  const batch = padBatch(examples, [0, 1], model);
  const input = batchTensors(batch);
  const dense = "roberta.encoder.layer.0.intermediate.dense";
  const pass = (keys?: Iterator<tf.Tensor>) =>
    new TensorPass({
      ...classifier,
      parameters: splitParameters(tf.tensor1d(values), classifier.layout),
      input,
      ranks: ranksAt([3], 16, rank),
      keys,
    });
  const m = pass();
  const x = m.embed("roberta.embeddings.word_embeddings", "ids");
  const [q, k, v] = m.heads(
    ["query", "key", "value"].map((it) =>
      `roberta.encoder.layer.0.attention.self.${it}`
    ) as [string, string, string],
    // The query is a product of its own in the last layer.
    m.narrow(x, (all) => all),
    4,
  );
  const [, seq] = batch.shape;
  const bias = { ...q, value: tf.ones([1, 4, seq, seq]) };
  for (const options of [{ causal: true }, { window: 2 }]) {
    m.attention(q, k, v, { dropout: 0, ...options });
    assertThrows(
      () => m.attention(q, k, v, { dropout: 0, bias, ...options }),
      TypeError,
      "A bias of attention is not supported with a causal mask or a window",
    );
  }
  for (const apply of ["activate", "glu"] as const) {
    const of = (m: TensorPass) =>
      m[apply](m.dropout(m.linear(dense, x), 0.1), "gelu");
    of(m);
    assertThrows(
      () => of(pass([tf.tensor1d([1, 2], "int32")].values())),
      TypeError,
      "A dropout between a linear module and GELU or a gated unit is not supported",
    );
  }
});

function logits(
  input: BatchTensors,
  ranks: readonly number[],
): Promise<Float32Array> {
  return logitsAt(classifier, values, input, ranksAt(ranks, 16, rank));
}
