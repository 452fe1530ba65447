import { assertEquals } from "@std/assert";
import { type Sampler } from "../../lib/engine/methods/dylora.ts";
import { servedRanks } from "../../lib/artifacts/training.ts";

Deno.test("servedRanks() is the own rank of a LoRA, and all from the lowest trained rank otherwise", () => {
  const rank = 3;
  assertEquals(servedRanks({ method: "lora", rank }), [3]);
  assertEquals(servedRanks({ method: "lora-svd", rank }), [1, 2, 3]);
  const ranksOf = (sampler: Sampler) =>
    servedRanks({ method: "dylora", rank, sampler });
  assertEquals(ranksOf({ kind: "uniform" }), [1, 2, 3]);
  assertEquals(ranksOf({ kind: "geometric", p: 0.5, minRank: 2 }), [2, 3]);
  assertEquals(ranksOf({ kind: "list", ranks: [3, 2] }), [2, 3]);
  const matryoshka = { ranks: [2, 3] };
  assertEquals(servedRanks({ method: "matryoshka", rank, matryoshka }), [2, 3]);
});
