import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { shortIds } from "../../lib/cli/short_ids.ts";

/** The short forms of ids, in their order. */
function short(ids: readonly string[], width: number): string[] {
  const found = shortIds(ids, width);
  return ids.map((id) => found.get(id)!);
}

Deno.test("shortIds() keeps ids that fit", () => {
  const ids = ["train-lora@sst2,rank=1", "report"];
  assertEquals(short(ids, 22), ids);
});

Deno.test("shortIds() drops the matrix values that all ids share, then the name, and keeps what differs", () => {
  const ids = [1, 2].map((rank) => `train-lora@sst2,rank=${rank},seed=0`);
  assertEquals(short(ids, 28), [
    "train-lora…rank=1,seed=0",
    "train-lora…rank=2,seed=0",
  ]);
  assertEquals(short(ids, 20), ["train-lora…rank=1", "train-lora…rank=2"]);
  assertEquals(short(ids, 10), ["…rank=1", "…rank=2"]);
});

Deno.test("shortIds() drops values that stages of different names share", () => {
  assertEquals(
    short(["evaluate-dylora@mrpc,seed=3", "train-lora@mrpc,seed=3"], 20),
    ["evaluate-dylora", "train-lora"],
  );
});

Deno.test("shortIds() cuts a single id at its end", () => {
  assertEquals(short(["train-lora@sst2,rank=1"], 12), ["train-lora@…"]);
});

Deno.test("shortIds() fits any width, and tells ids of one matrix apart where their values fit", () => {
  const value = fc.constantFrom("sst2", "mrpc", "a-longer-name", "x");
  const id = fc.tuple(value, fc.nat(12), fc.nat(3)).map(([glue, rank, seed]) =>
    `train-with-a-long-name@${glue},rank=${rank},seed=${seed}`
  );
  fc.assert(fc.property(
    fc.uniqueArray(id, { minLength: 1, maxLength: 8 }),
    fc.integer({ min: 8, max: 60 }),
    (ids, width) => {
      const found = short(ids, width);
      assert(found.every((it) => it.length <= width));
      const longest = "…a-longer-name,rank=12,seed=0".length;
      if (width >= longest) assertEquals(new Set(found).size, ids.length);
    },
  ));
});
