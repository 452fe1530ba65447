import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Examples } from "../../lib/engine/batches.ts";
import { paddedLengths } from "../../lib/engine/padded_lengths.ts";

/** What a first pass costs beyond others. */
const FIRST_PASS = 3e11;

/** Batches of one example each, of these lengths. */
function batchesOf(lengths: readonly number[]) {
  const offsets = [0];
  for (const length of lengths) offsets.push(offsets.at(-1)! + length);
  const tokens = offsets.at(-1)!;
  const examples: Examples = {
    ids: new Int32Array(tokens),
    types: new Uint8Array(tokens),
    offsets: Int32Array.from(offsets),
    labels: new Float32Array(lengths.length),
  };
  return { examples, batches: lengths.map((_, i) => [i]) };
}

const lengthsArbitrary = fc.array(fc.integer({ min: 1, max: 48 }), {
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
      const own = lengths.map((length) => Math.ceil(length / 8) * 8);
      const cost = (set: readonly number[]) =>
        FIRST_PASS * set.length +
        passes * own.reduce(
            (sum, length) => sum + flops([1, set.find((it) => it >= length)!]),
            0,
          );
      const chosen = [...new Set(batches.map(lengthOf))].sort((a, b) => a - b);
      batches.forEach((indices, i) => assert(lengthOf(indices) >= own[i]!));
      const all = [...new Set(own)].sort((a, b) => a - b);
      const longest = all.pop()!;
      for (let set = 0; set < 2 ** all.length; set++) {
        const other = all.filter((_, i) => set >> i & 1);
        assert(cost(chosen) <= cost([...other, longest]) * (1 + 1e-12));
      }
    },
  ));
});

Deno.test("paddedLengths() keeps every length where products are dear, and one where they are cheap", () => {
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
  assertEquals(at(1e12), [8, 8, 16, 32, 32]);
  assertEquals(at(1), [32, 32, 32, 32, 32]);
});
