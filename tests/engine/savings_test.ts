/** What is left out because nothing depends on it changes no result: each is compared with the plain computation. */
import { assert, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import "./engine.ts";
import {
  batchTensors,
  padBatch,
  type PaddedBatch,
} from "../../lib/engine/batches.ts";
import { type Classifier, logitsAt } from "../../lib/engine/classifier.ts";
import { encode, firstPositions } from "../../lib/engine/encoder.ts";
import { classify } from "../../lib/engine/head.ts";
import { crossEntropy } from "../../lib/engine/ops/loss.ts";
import {
  joinParameters,
  layerAdapters,
  parametersOf,
  splitParameters,
} from "../../lib/engine/parameters.ts";
import { seededRandom } from "../../lib/engine/random.ts";
import { rankScale, trainedRows } from "../../lib/engine/ranks/rank_vectors.ts";
import { evaluateRanks } from "../../lib/engine/evaluation/rank_evaluation.ts";
import { shardSizes } from "../../lib/engine/shards.ts";
import { loadEncoder } from "../../lib/engine/weights.ts";
import {
  assertClose,
  assertSameBits,
  openReference,
  read,
} from "./reference.ts";
import { tinyClassifier, tinyExamples } from "./tiny_task.ts";

const rank = 8;
const { classifier, initial } = tinyClassifier(rank);
const examples = tinyExamples(6);

/** Parameters whose adapters, B included, are not zero. */
function parameters(): Float32Array {
  const random = seededRandom(1, "parameters");
  return initial.map((value) => value + 0.1 * (random.next() - 0.5));
}

function ranksAt(ranks: readonly number[]) {
  return {
    scale: tf.tensor2d(
      ranks.flatMap((b) => [...rankScale(b, 16, rank)]),
      [ranks.length, rank],
    ),
    trained: tf.tensor1d(trainedRows(rank, "all", rank)),
  };
}

/** Loss and gradient at one rank. */
async function gradientOf(
  logits: (parts: readonly tf.Tensor[]) => tf.Tensor2D,
  { labels }: PaddedBatch,
): Promise<Float32Array> {
  const { value, grads } = tf.valueAndGrads((...parts: tf.Tensor[]) =>
    crossEntropy(logits(parts), tf.tensor1d(labels))
  )(splitParameters(tf.tensor1d(parameters()), classifier.layout));
  const gradient = await read(joinParameters(grads));
  return Float32Array.of((await read(value))[0]!, ...gradient);
}

Deno.test("the last layer computed for the classifier's position alone has the loss and gradient of all positions", async () => {
  const { config, layout } = classifier;
  const batch = padBatch(examples, [0, 1, 2, 3], config);
  const input = batchTensors(batch);
  const whole = loadEncoder(openReference("roberta").model, config, {
    pooledLast: false,
  });
  const plain = await gradientOf((parts) => {
    const { adapters, head } = parametersOf(parts, layout);
    const hidden = encode(whole, config, input, {
      adapters: { layers: adapters.map(layerAdapters), ranks: ranksAt([3]) },
    });
    assertEquals(hidden.shape[0], batch.shape[0] * batch.shape[1]);
    const first = firstPositions(hidden, batch.shape[1]);
    return classify(first, head, config, undefined);
  }, batch);
  const saved = await gradientOf((parts) => {
    const { adapters, head } = parametersOf(parts, layout);
    const pooled = encode(classifier.weights!, config, input, {
      adapters: { layers: adapters.map(layerAdapters), ranks: ranksAt([3]) },
    });
    assertEquals(pooled.shape[0], batch.shape[0]);
    return classify(pooled, head, config, undefined);
  }, batch);
  assert(Math.max(...saved.map(Math.abs)) > 1e-2);
  assertClose(saved, plain, 1e-6, "loss and gradient");
});

Deno.test("a batch without padding gives the logits that it has with a mask of ones", async () => {
  const same = [0, 0, 0];
  const batch = padBatch(
    { ...examples, offsets: Int32Array.of(0, 8), labels: Float32Array.of(1) },
    same,
    classifier.config,
  );
  assertEquals(batch.mask, undefined);
  const input = batchTensors(batch);
  const ones = { ...input, mask: tf.ones(batch.shape) as tf.Tensor2D };
  assertSameBits(
    await logits(classifier, input, [4]),
    await logits(classifier, ones, [4]),
  );
});

Deno.test("examples have the same logits whatever their batch is padded to", async () => {
  const all = [0, 1, 2, 3, 4, 5];
  const labels = classifier.layout.labels;
  const together = await logits(
    classifier,
    batchTensors(padBatch(examples, all, classifier.config, 64)),
    [5],
  );
  for (const i of all) {
    const alone = await logits(
      classifier,
      batchTensors(padBatch(examples, [i], classifier.config)),
      [5],
    );
    const row = together.subarray(i * labels, (i + 1) * labels);
    assertClose(row, alone, 1e-5, `example ${i}`);
  }
});

Deno.test("all ranks in one pass, what they share computed once, have the logits of a pass each", async () => {
  const input = batchTensors(
    padBatch(examples, [0, 1, 2, 3], classifier.config),
  );
  const ranks = [1, 2, 5, 8];
  const together = await logits(classifier, input, ranks);
  for (const [i, b] of ranks.entries()) {
    const alone = await logits(classifier, input, [b]);
    const size = alone.length;
    assertClose(
      together.subarray(i * size, (i + 1) * size),
      alone,
      1e-5,
      `rank ${b}`,
    );
  }
});

Deno.test("evaluateRanks() gives the logits of its parts computed by themselves, bit for bit", async () => {
  const { config, layout } = classifier;
  const ranks = [1, 4, 8];
  const { labels } = layout;
  const evaluated = await evaluateRanks(classifier, parameters(), examples, {
    alpha: 16,
    scaling: "rank",
    ranks,
    batchSize: 6,
  });
  // One batch, the longest example first, all padded to its length.
  const lengths = Array.from(examples.labels, (_, i) => ({
    i,
    length: examples.offsets[i + 1]! - examples.offsets[i]!,
  }));
  const order = lengths.sort((a, b) => b.length - a.length).map(({ i }) => i);
  const length = Math.ceil(lengths[0]!.length / 8) * 8;
  let start = 0;
  for (const size of shardSizes(order.length, length * ranks.length)) {
    const rows = order.slice(start, start += size);
    const batch = padBatch(examples, rows, config, length);
    // A part has a mask if the whole batch has one.
    const mask = tf.tensor2d(
      batch.mask ?? new Float32Array(rows.length * length).fill(1),
      batch.shape,
    );
    const input = { ...batchTensors(batch), mask };
    const alone = await logits(classifier, input, ranks);
    for (const [row, example] of rows.entries()) {
      for (const group of ranks.keys()) {
        const whole = (group * order.length + example) * labels;
        const part = (group * rows.length + row) * labels;
        assertSameBits(
          evaluated.subarray(whole, whole + labels),
          alone.subarray(part, part + labels),
        );
      }
    }
  }
});

function logits(
  classifier: Classifier,
  input: ReturnType<typeof batchTensors>,
  ranks: readonly number[],
): Promise<Float32Array> {
  return read(
    logitsAt(classifier, tf.tensor1d(parameters()), input, ranksAt(ranks)),
  );
}
