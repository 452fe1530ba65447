import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { engineLanes } from "../../lib/engine/backend.ts";
import type { ParameterLayout } from "../../lib/engine/parameters.ts";
import { shardSizes, trainingShardSizes } from "../../lib/engine/shards.ts";
import { tensorflow } from "./engine.ts";

Deno.test("shardSizes() shares out every sequence, evenly, and as often to each thread", () => {
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
  name: "shardSizes() makes a long batch into more parts than threads",
  ignore: tensorflow === undefined,
  fn() {
    assertEquals(shardSizes(16, 64), [8, 8]);
    assertEquals(shardSizes(15, 64), [7, 8]);
    assertEquals(shardSizes(32, 128), [8, 8, 8, 8]);
    assertEquals(shardSizes(1, 512), [1]);
  },
});

Deno.test({
  name:
    "trainingShardSizes() makes parts of what would keep too much for the backward pass, unless each had gradients of all weights",
  ignore: tensorflow === undefined,
  fn() {
    const layoutOf = (layers: number, hidden: number) =>
      ({ layers, hidden, encoder: [] }) as unknown as ParameterLayout;
    const [roberta, minilm] = [layoutOf(12, 768), layoutOf(6, 384)];
    const all = { ...roberta, encoder: [{}] } as unknown as ParameterLayout;
    const { binding } = tensorflow!;
    const before = binding.precision;
    try {
      binding.precision = "f32";
      assertEquals(trainingShardSizes(roberta, 16, 64), [4, 4, 4, 4]);
      assertEquals(trainingShardSizes(minilm, 32, 64), [16, 16]);
      assertEquals(trainingShardSizes(all, 16, 64), [8, 8]);
      assertEquals(trainingShardSizes(roberta, 2, 512), [1, 1]);
      binding.precision = "bf16";
      assertEquals(trainingShardSizes(roberta, 16, 64), [8, 8]);
      assertEquals(trainingShardSizes(roberta, 32, 128).length, 8);
    } finally {
      binding.precision = before;
    }
  },
});
