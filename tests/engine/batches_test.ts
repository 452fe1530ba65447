import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import {
  epochBatches,
  type Examples,
  padBatch,
} from "../../lib/engine/batches.ts";
import type { EncoderConfig } from "../../lib/engine/config.ts";
import { restoreRandom, seededRandom } from "../../lib/engine/random.ts";
import { openReference } from "./reference.ts";
import { tinyExamples } from "./tiny_task.ts";

const examplesArbitrary = fc.array(fc.integer({ min: 1, max: 60 }), {
  minLength: 1,
  maxLength: 300,
})
  .map((lengths): Examples => {
    const offsets = [0];
    for (const length of lengths) offsets.push(offsets.at(-1)! + length);
    const tokens = offsets.at(-1)!;
    return {
      ids: Int32Array.from({ length: tokens }, (_, i) => 5 + i % 90),
      types: new Uint8Array(tokens),
      offsets: Int32Array.from(offsets),
      labels: new Float32Array(lengths.length),
    };
  });

Deno.test("epochBatches() takes every example once, in full batches but the last of each group", () => {
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

Deno.test("epochBatches() of batches padded to one length takes examples at random, whatever their length", () => {
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

Deno.test("epochBatches() repeats itself from the state of its generator", () => {
  const examples = tinyExamples(100);
  const random = seededRandom(1, "shuffle");
  const state = random.state;
  const first = epochBatches(examples, 8, random);
  assertEquals(epochBatches(examples, 8, restoreRandom(state)), first);
  assertNotEquals(epochBatches(examples, 8, random), first);
});

Deno.test("padBatch() pads to the longest example, in steps of eight, and masks the padding", () => {
  const { config } = openReference("roberta");
  fc.assert(
    fc.property(examplesArbitrary, (examples) => {
      const indices = Array.from(examples.labels.slice(0, 16), (_, i) => i);
      const batch = padBatch(examples, indices, config as EncoderConfig);
      const [rows, seq] = batch.shape;
      const long = padBatch(examples, indices, config, 100);
      assertEquals([
        long.shape,
        long.tokens,
        long.mask!.reduce((a, b) => a + b),
      ], [[rows, 100], batch.tokens, batch.tokens]);
      const lengths = indices.map((i) =>
        examples.offsets[i + 1]! - examples.offsets[i]!
      );
      assertEquals(seq, Math.ceil(Math.max(...lengths) / 8) * 8);
      assertEquals(batch.tokens, lengths.reduce((sum, it) => sum + it, 0));
      for (let row = 0; row < rows; row++) {
        const ids = [...batch.ids.slice(row * seq, (row + 1) * seq)];
        const start = examples.offsets[row]!;
        assertEquals(ids.slice(0, lengths[row]), [
          ...examples.ids.slice(start, start + lengths[row]!),
        ]);
        assert(ids.slice(lengths[row]).every((id) => id === config.padId));
        const mask = batch.mask?.slice(row * seq, (row + 1) * seq) ??
          Array(seq).fill(1);
        assertEquals([...mask], ids.map((_, i) => i < lengths[row]! ? 1 : 0));
      }
    }),
    { seed: 2 },
  );
});
