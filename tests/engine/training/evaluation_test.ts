import { assert, assertEquals, assertRejects } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import "../engine.ts";
import { forwardFlops } from "../../../lib/engine/models/outline.ts";
import {
  batchTensors,
  padBatch,
  shardSizes,
} from "../../../lib/engine/training/batch.ts";
import {
  evaluateRanks,
  evaluationFlops,
} from "../../../lib/engine/training/evaluation.ts";
import { logitsAt, ranksAt } from "../logits.ts";
import { assertClose, assertSameBits } from "../reference.ts";
import { tinyClassifier, tinyExamples, withAdapters } from "../tiny_task.ts";

Deno.test("evaluateRanks() gives the logits of its parts computed separately, bit for bit", async () => {
  const { classifier, initial } = tinyClassifier();
  const values = withAdapters(initial);
  const examples = tinyExamples(6);
  const ranks = [1, 4, 8];
  const { outputs } = classifier.layout;
  const evaluated = await evaluateRanks(classifier, values, examples, {
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
  const { length } = lengths[0]!;
  let start = 0;
  for (const size of shardSizes(order.length, length * ranks.length)) {
    const rows = order.slice(start, start += size);
    const batch = padBatch(examples, rows, classifier.model, length);
    // A part has a mask if the whole batch has one.
    const mask = tf.tensor2d(
      batch.mask ?? new Float32Array(rows.length * length).fill(1),
      batch.shape,
    );
    const input = { ...batchTensors(batch), mask };
    const alone = await logitsAt(
      classifier,
      values,
      input,
      ranksAt(ranks, 16, 8),
    );
    for (const [row, example] of rows.entries()) {
      for (const at of ranks.keys()) {
        const whole = (at * order.length + example) * outputs;
        const part = (at * rows.length + row) * outputs;
        assertSameBits(
          evaluated.subarray(whole, whole + outputs),
          alone.subarray(part, part + outputs),
        );
      }
    }
  }
});

Deno.test("evaluateRanks() of examples of two sequences gives what the head gives for each, one after the other", async () => {
  const { classifier, initial } = tinyClassifier();
  const values = withAdapters(initial);
  const single = tinyExamples(12);
  const paired = {
    ...single,
    sequencesPerExample: 2,
    index: single.index.slice(0, 6),
    labels: single.labels.slice(0, 6),
  };
  const options = {
    alpha: 16,
    scaling: "rank",
    ranks: [1, 8],
    batchSize: 4,
  } as const;
  const ofPairs = await evaluateRanks(classifier, values, paired, options);
  const ofSequences = await evaluateRanks(classifier, values, single, options);
  assertClose(ofPairs, ofSequences, 1e-5, "outputs");
});

Deno.test("evaluateRanks() stops when it is interrupted while it computes", async () => {
  const { classifier, initial } = tinyClassifier();
  const examples = tinyExamples(2000);
  const interrupt = new AbortController();
  let done = 0;
  setTimeout(() => interrupt.abort(new Error("Interrupted")), 0);
  await assertRejects(
    () =>
      evaluateRanks(classifier, initial, examples, {
        alpha: 16,
        scaling: "rank",
        ranks: [8],
        batchSize: 1,
        signal: interrupt.signal,
        progress: (examples) => done = examples,
      }),
    Error,
    "Interrupted",
  );
  assert(done < 2000, `all ${done} examples were computed`);
});

Deno.test("evaluationFlops() sums the batches of all ranks, each padded as it is computed", () => {
  const { classifier } = tinyClassifier(4);
  // Of 20, 9, 3 and 8 tokens.
  const offsets = Int32Array.of(0, 20, 29, 32, 40);
  const examples = {
    ids: new Int32Array(40),
    types: new Uint8Array(40),
    offsets,
    index: Int32Array.of(0, 1, 2, 3),
  };
  const flops = (passes: number) =>
    evaluationFlops(classifier, examples, {
      ranks: [1, 2, 4],
      batchSize: 2,
      passes,
    });
  const at = (length: number) => forwardFlops(classifier, [2, length], 3);
  assertEquals(flops(1e6), at(20) + at(8));
  // So small a model is evaluated sooner than a second length is prepared.
  assertEquals(flops(1), 2 * at(20));
});
