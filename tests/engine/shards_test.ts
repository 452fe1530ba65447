import assert from "node:assert/strict";
import fc from "fast-check";
import { engineLanes } from "../../lib/engine/backend.ts";
import { shardSizes } from "../../lib/engine/shards.ts";
import { tensorflow } from "./engine.ts";

Deno.test("shardSizes() shares out every sequence, evenly, and as often to each thread", () => {
  const lanes = engineLanes();
  assert.equal(lanes, tensorflow === undefined ? 1 : 2);
  const sequences = fc.integer({ min: 1, max: 300 });
  const rows = fc.integer({ min: 1, max: 8 * 512 });
  fc.assert(fc.property(sequences, rows, (sequences, rows) => {
    const sizes = shardSizes(sequences, rows);
    assert.equal(sizes.reduce((sum, size) => sum + size, 0), sequences);
    assert.ok(Math.min(...sizes) >= 1);
    assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1);
    assert.ok(sizes.length % lanes === 0 || sizes.length === sequences);
  }));
});

Deno.test({
  name: "shardSizes() makes a long batch into more parts than threads",
  ignore: tensorflow === undefined,
  fn() {
    assert.deepEqual(shardSizes(16, 64), [8, 8]);
    assert.deepEqual(shardSizes(15, 64), [7, 8]);
    assert.deepEqual(shardSizes(32, 128), [8, 8, 8, 8]);
    assert.deepEqual(shardSizes(1, 512), [1]);
  },
});
