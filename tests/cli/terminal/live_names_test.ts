import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { sharedParts, shortIds } from "../../../lib/cli/terminal/live.ts";

/** The short forms of ids, in their order, among all ids of a run. */
function short(ids: readonly string[], width: number, all = ids): string[] {
  return shortIds(ids, width, sharedParts(all));
}

const RANKS = [1, 2, 4].map((rank) => `train-lora@sst2,rank=${rank},seed=0`);

Deno.test("shortIds() keeps ids that fit", () => {
  const ids = ["train-lora@sst2,rank=1", "report"];
  assertEquals(short(ids, 22), ids);
});

Deno.test("shortIds() drops the matrix values that stages of a name share, then the name, and keeps what differs", () => {
  const [one, two] = RANKS as [string, string, string];
  assertEquals(short([one, two], 28), [
    "train-lora…rank=1,seed=0",
    "train-lora…rank=2,seed=0",
  ]);
  assertEquals(short([one, two], 20), [
    "train-lora…rank=1",
    "train-lora…rank=2",
  ]);
  assertEquals(short([one, two], 10), ["…rank=1", "…rank=2"]);
});

Deno.test("shortIds() keeps what tells a stage apart from those that it is not shown with", () => {
  assertEquals(
    short([RANKS[2]!, "report@sst2,seed=0"], 17, [
      ...RANKS,
      "report@sst2,seed=0",
      "report@sst2,seed=1",
    ]),
    ["train-lora…rank=4", "report…seed=0"],
  );
  assertEquals(short([RANKS[2]!], 17, RANKS), ["train-lora…rank=4"]);
  assertEquals(
    short(["evaluate-dylora@sst2,seed=0"], 20),
    ["evaluate-dylora"],
    "the name alone names it",
  );
});

Deno.test("shortIds() cuts what is still too long at its end", () => {
  assertEquals(short(["a-long-name-of-a-stage"], 12), ["a-long-name…"]);
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
