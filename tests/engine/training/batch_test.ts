import { assert, assertEquals, assertNotEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import type { LabelledExamples } from "../../../lib/data/example.ts";
import { engineLanes } from "../../../lib/engine/backend.ts";
import type { FrozenWeights } from "../../../lib/engine/models/pass_weights.ts";
import { restoreRandom, seededRandom } from "../../../lib/engine/random.ts";
import {
  chunkCount,
  epochBatches,
  padBatch,
  paddedLengths,
  padParts,
  shardSizes,
  splitBatch,
} from "../../../lib/engine/training/batch.ts";
import { tensorflow } from "../engine.ts";
import { openReference } from "../reference.ts";
import { tinyExamples } from "../tiny_task.ts";

const examplesArbitrary = fc.array(fc.integer({ min: 1, max: 60 }), {
  minLength: 1,
  maxLength: 300,
})
  .map(examplesOf);

Deno.test("epochBatches() takes every example once, in full batches except the last of each group", () => {
  fc.assert(
    fc.property(
      examplesArbitrary,
      fc.integer({ min: 1, max: 40 }),
      (examples, size) => {
        const batches = epochBatches(
          examples,
          size,
          seededRandom(1, "shuffle"),
        );
        const taken = batches.flat().sort((a, b) => a - b);
        assertEquals(taken, Array.from(examples.labels, (_, i) => i));
        assertEquals(batches.length, Math.ceil(examples.labels.length / size));
      },
    ),
    { seed: 1 },
  );
});

Deno.test("epochBatches() of batches padded to one length takes examples at random, independent of their length", () => {
  const examples = tinyExamples(400);
  const lengths = (indices: readonly number[]) =>
    indices.map((i) => examples.offsets[i + 1]! - examples.offsets[i]!);
  const spread = (padded: boolean) => {
    const batches = epochBatches(
      examples,
      16,
      seededRandom(1, "shuffle"),
      padded,
    );
    const taken = batches.flat().sort((a, b) => a - b);
    assertEquals(taken, Array.from({ length: 400 }, (_, i) => i));
    return batches.map((batch) =>
      Math.max(...lengths(batch)) - Math.min(...lengths(batch))
    );
  };
  // Lengths are from 5 to 24: sorted, 25 batches differ by little.
  assert(spread(false).every((it) => it <= 3));
  assert(spread(true).every((it) => it >= 10));
});

Deno.test("epochBatches() gives the same batches from the same generator state", () => {
  const examples = tinyExamples(100);
  const random = seededRandom(1, "shuffle");
  const state = random.state;
  const first = epochBatches(examples, 8, random);
  assertEquals(epochBatches(examples, 8, restoreRandom(state)), first);
  assertNotEquals(epochBatches(examples, 8, random), first);
});

Deno.test("padBatch() pads to the longest example, and masks the padding", () => {
  const { model } = openReference("roberta");
  fc.assert(
    fc.property(examplesArbitrary, (examples) => {
      const indices = Array.from(examples.labels.slice(0, 16), (_, i) => i);
      const batch = padBatch(examples, indices, model);
      const [rows, seq] = batch.shape;
      const long = padBatch(examples, indices, model, 100);
      assertEquals([
        long.shape,
        long.tokens,
        long.mask!.reduce((a, b) => a + b),
      ], [[rows, 100], batch.tokens, batch.tokens]);
      const lengths = indices.map((i) =>
        examples.offsets[i + 1]! - examples.offsets[i]!
      );
      assertEquals(seq, Math.max(...lengths));
      assertEquals(batch.tokens, lengths.reduce((sum, it) => sum + it, 0));
      for (let row = 0; row < rows; row++) {
        const ids = [...batch.ids.slice(row * seq, (row + 1) * seq)];
        const start = examples.offsets[row]!;
        assertEquals(ids.slice(0, lengths[row]), [
          ...examples.ids.slice(start, start + lengths[row]!),
        ]);
        assert(ids.slice(lengths[row]).every((id) => id === model.padId));
        const mask = batch.mask?.slice(row * seq, (row + 1) * seq) ??
          Array(seq).fill(1);
        assertEquals([...mask], ids.map((_, i) => i < lengths[row]! ? 1 : 0));
      }
    }),
    { seed: 2 },
  );
});

/** What a first pass costs beyond others. */
const NEW_LENGTH_COST = 1e11 / 6;

const lengthsArbitrary = fc.array(fc.integer({ min: 1, max: 12 }), {
  minLength: 1,
  maxLength: 40,
});

Deno.test("paddedLengths() costs no more than any other set of lengths", () => {
  fc.assert(fc.property(
    lengthsArbitrary,
    fc.integer({ min: 1, max: 5 }),
    fc.double({ min: 1e8, max: 1e11, noNaN: true }),
    (lengths, passes, perToken) => {
      const { examples, batches } = batchesOf(lengths);
      const flops = ([count, length]: readonly [number, number]) =>
        count * length * perToken;
      const lengthOf = paddedLengths(examples, batches, passes, flops);
      const cost = (set: readonly number[]) =>
        NEW_LENGTH_COST * set.length +
        passes * lengths.reduce(
            (sum, length) => sum + flops([1, set.find((it) => it >= length)!]),
            0,
          );
      const chosen = [...new Set(batches.map(lengthOf))].sort((a, b) => a - b);
      batches.forEach((indices, i) => assert(lengthOf(indices) >= lengths[i]!));
      const all = [...new Set(lengths)].sort((a, b) => a - b);
      const longest = all.pop()!;
      for (let set = 0; set < 2 ** all.length; set++) {
        const other = all.filter((_, i) => set >> i & 1);
        assert(cost(chosen) <= cost([...other, longest]) * (1 + 1e-12));
      }
    },
  ));
});

Deno.test("paddedLengths() keeps every length if products are expensive, and one if they are cheap", () => {
  const { examples, batches } = batchesOf([3, 8, 9, 30, 31]);
  const at = (perToken: number) =>
    batches.map(
      paddedLengths(
        examples,
        batches,
        1,
        ([count, length]) => count * length * perToken,
      ),
    );
  assertEquals(at(1e12), [3, 8, 9, 30, 31]);
  assertEquals(at(1), [31, 31, 31, 31, 31]);
});

Deno.test("shardSizes() splits all sequences evenly, into the same number of shards for each thread", () => {
  const lanes = engineLanes();
  assertEquals(lanes, tensorflow === undefined ? 1 : 2);
  const sequences = fc.integer({ min: 1, max: 300 });
  const rows = fc.integer({ min: 1, max: 8 * 512 });
  fc.assert(fc.property(sequences, rows, (sequences, rows) => {
    const sizes = shardSizes(sequences, rows);
    assertEquals(sizes.reduce((sum, size) => sum + size, 0), sequences);
    assert(Math.min(...sizes) >= 1);
    assert(Math.max(...sizes) - Math.min(...sizes) <= 1);
    assert(sizes.length % lanes === 0 || sizes.length === sequences);
  }));
});

Deno.test({
  name: "shardSizes() splits a long batch into more shards than threads",
  ignore: tensorflow === undefined,
  fn() {
    assertEquals(shardSizes(16, 64), [8, 8]);
    assertEquals(shardSizes(15, 64), [7, 8]);
    assertEquals(shardSizes(32, 128), [8, 8, 8, 8]);
    assertEquals(shardSizes(1, 512), [1]);
  },
});

Deno.test("chunkCount() gives every thread a chunk or a shard, in chunks of 128 tokens or more", () => {
  const lanes = engineLanes();
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 64 }),
    fc.integer({ min: 1, max: 8192 }),
    (sequences, tokens) => {
      const chunks = chunkCount(sequences, tokens);
      if (chunks > 1) assert(tokens / chunks >= 128);
      if (sequences * chunks < lanes) assert(tokens < 128 * (chunks + 1));
      assert(sequences < lanes || chunks === 1);
    },
  ));
});

Deno.test("padParts() gives all parts of a batch a mask if any of its examples is padded", () => {
  const { examples } = batchesOf([3, 3, 3, 2]);
  const { model } = openReference("roberta");
  const large = { ...model, layers: 1e6, hidden: 1e4 };
  const parts = (rows: number[]) =>
    padParts({ model: large, weights: NO_WEIGHTS }, examples, rows, 1)
      .map(({ shape, mask }) => [...shape, mask?.join()]);
  assertEquals(parts([0, 1]), [[1, 3, undefined], [1, 3, undefined]]);
  assertEquals(parts([0, 3]), [[1, 3, "1,1,1"], [1, 3, "1,1,0"]]);
});

Deno.test({
  name:
    "padParts() cuts a batch that would keep too much for the backward pass, unless all weights are trained",
  ignore: tensorflow === undefined,
  fn() {
    const modelOf = (layers: number, hidden: number) => {
      const { model } = openReference("roberta");
      return { model: { ...model, layers, hidden }, weights: NO_WEIGHTS };
    };
    const [roberta, minilm] = [modelOf(12, 768), modelOf(6, 384)];
    const all = { ...roberta, weights: undefined };
    const binding = tensorflow!;
    const before = binding.precision;
    try {
      const partsOf = (
        classifier: Parameters<typeof padParts>[0],
        sequences: number,
        length: number,
        ranks = 1,
      ) => {
        const { examples } = batchesOf(Array(sequences).fill(length));
        const rows = Array.from({ length: sequences }, (_, i) => i);
        return padParts(classifier, examples, rows, ranks)
          .map(({ shape }) => shape[0]);
      };
      binding.precision = "f32";
      assertEquals(partsOf(roberta, 16, 64), [8, 8]);
      assertEquals(partsOf(roberta, 17, 64), [9, 8]);
      assertEquals(partsOf(roberta, 16, 64, 2), [4, 4, 4, 4]);
      assertEquals(partsOf(roberta, 19, 128), [5, 5, 5, 4]);
      assertEquals(partsOf(minilm, 32, 64), [32]);
      assertEquals(partsOf(all, 16, 64), [16]);
      assertEquals(partsOf(roberta, 2, 2048), [1, 1]);
      binding.precision = "bf16";
      assertEquals(partsOf(roberta, 16, 64), [16]);
      assertEquals(partsOf(roberta, 32, 128), [8, 8, 8, 8]);
    } finally {
      binding.precision = before;
    }
  },
});

const NO_WEIGHTS: FrozenWeights = { tensors: new Map(), products: [] };

Deno.test("padBatch() keeps the sequences of an example together, and its row of targets", () => {
  const { model } = openReference("roberta");
  const examples: LabelledExamples = {
    ...examplesOf([3, 1, 2, 4]),
    sequencesPerExample: 2,
    index: Int32Array.of(0, 1),
    width: 3,
    labels: Float32Array.of(1, 0, 1, 0, 1, 0),
  };
  const batch = padBatch(examples, [1, 0], model);
  assertEquals(batch.shape, [4, 4]);
  assertEquals([...batch.labels], [0, 1, 0, 1, 0, 1]);
  assertEquals(batch.tokens, 10);
  const lengths = [0, 1, 2, 3].map((row) =>
    batch.mask!.subarray(row * 4, row * 4 + 4).reduce((sum, it) => sum + it)
  );
  assertEquals(lengths, [2, 4, 3, 1]);
});

Deno.test("splitBatch() splits by examples, whatever number of rows each has", () => {
  tf.tidy(() => {
    const parts = splitBatch({
      ids: tf.tensor2d([[1], [2], [3], [4], [5], [6]]),
      labels: tf.tensor1d([10, 20, 30]),
    }, [1, 2]);
    assertEquals(
      parts.map(({ ids, labels }) => [[...ids.dataSync()], [
        ...labels.dataSync(),
      ]]),
      [[[1, 2], [10]], [[3, 4, 5, 6], [20, 30]]],
    );
  });
});

/** Batches of one example each, of these lengths. */
function batchesOf(lengths: readonly number[]) {
  return { examples: examplesOf(lengths), batches: lengths.map((_, i) => [i]) };
}

/** Examples of these lengths. */
function examplesOf(lengths: readonly number[]): LabelledExamples {
  const offsets = [0];
  for (const length of lengths) offsets.push(offsets.at(-1)! + length);
  const tokens = offsets.at(-1)!;
  return {
    ids: Int32Array.from({ length: tokens }, (_, i) => 5 + i % 90),
    types: new Uint8Array(tokens),
    offsets: Int32Array.from(offsets),
    index: Int32Array.from(lengths, (_, i) => i),
    labels: new Float32Array(lengths.length),
  };
}
